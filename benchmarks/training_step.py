"""What do our gradients and our optimizer save? Times training steps of Xception with them and with Keras's own.

    python -m benchmarks.training_step [--image-size 71 160] [--batch-size 16] [--rounds 20] [--json FILE]

Interleaved, in one process, in float32; and what each one's first step takes, most of it tracing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import JsonObject, to_json
from cxr_edge.training.adam import FusedAdam
from cxr_edge.training.backend import keras
from cxr_edge.training.pointwise import SeparableConv2D
from cxr_edge.training.precision import training_step
from cxr_edge.training.xception import build_classifier


def compiled(image_size: int, separable: Any, optimizer: Any) -> keras.Model:
    """A classifier of such layers, trained by such an optimizer."""
    with patch("cxr_edge.training.xception.SeparableConv2D", separable):
        model = build_classifier(image_size, 3)
    model.compile(optimizer(1e-4), "categorical_crossentropy")
    return model


def compare(image_size: int, batch_size: int, rounds: int) -> JsonObject:
    """Medians in seconds, and the median of the rounds' ratios."""
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, image_size, image_size, 1)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[np.arange(batch_size) % 3]
    keras_own = compiled(image_size, keras.layers.SeparableConv2D, keras.optimizers.Adam)
    steps = [training_step(keras_own), training_step(compiled(image_size, SeparableConv2D, FusedAdam))]

    def seconds() -> list[float]:
        times = []
        for step in steps:
            start = time.perf_counter()
            step(images, targets)
            times.append(time.perf_counter() - start)
        return times

    first = seconds()
    theirs, ours = zip(*(seconds() for _ in range(rounds)), strict=True)
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    return {
        "image_size": image_size,
        "first_step_s": {"keras": first[0], "ours": first[1]},
        "step_s": {"keras": statistics.median(theirs), "ours": statistics.median(ours)},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, nargs="+", default=[71, 160])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for size in options.image_size:
        rows.append(row := compare(size, options.batch_size, options.rounds))
        step, first = row["step_s"], row["first_step_s"]
        print(f"{size} px: {step['ours']:.2f} s per step, {row['ratio']:.2f} of Keras's {step['keras']:.2f} s")
        print(f"  the first one {first['ours']:.1f} s, with Keras's own {first['keras']:.1f} s")
    if options.json:
        settings = {"batch_size": options.batch_size, "rounds": options.rounds}
        write_json(options.json, {"settings": settings, "machine": to_json(describe_machine()), "rows": rows})


if __name__ == "__main__":
    main()
