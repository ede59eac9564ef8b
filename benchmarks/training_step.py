"""What do our gradients, our optimizer and frozen blocks save? Times training steps of Xception with and without them.

    python -m benchmarks.training_step [--image-size 71 160] [--batch-size 16] [--frozen-blocks 4] [--rounds 20]
        [--json FILE]

Interleaved, in one process, in float32; and what the first step of each takes, most of it tracing. "frozen" is ours
with the first blocks frozen.
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
from cxr_edge.runs.network import XCEPTION
from cxr_edge.training.adam import FusedAdam
from cxr_edge.training.backend import keras
from cxr_edge.training.pointwise import SeparableConv2D
from cxr_edge.training.precision import training_step
from cxr_edge.training.xception import build_classifier, freeze_blocks


def compiled(image_size: int, separable: Any, optimizer: Any, frozen_blocks: int = 0) -> keras.Model:
    """A classifier of such layers, trained by such an optimizer."""
    with patch("cxr_edge.training.xception.SeparableConv2D", separable):
        model = build_classifier(image_size, 3)
    freeze_blocks(model, XCEPTION, frozen_blocks)
    model.compile(optimizer(1e-4), "categorical_crossentropy")
    return model


def compare(image_size: int, batch_size: int, frozen_blocks: int, rounds: int) -> JsonObject:
    """Medians in seconds, and the median of the rounds' ratios."""
    images = np.random.default_rng(0).uniform(0, 255, (batch_size, image_size, image_size, 1)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[np.arange(batch_size) % 3]
    models = {
        "keras": compiled(image_size, keras.layers.SeparableConv2D, keras.optimizers.Adam),
        "ours": compiled(image_size, SeparableConv2D, FusedAdam),
        "frozen": compiled(image_size, SeparableConv2D, FusedAdam, frozen_blocks),
    }
    steps = {name: training_step(model) for name, model in models.items()}

    def seconds() -> dict[str, float]:
        times = {}
        for name, step in steps.items():
            start = time.perf_counter()
            step(images, targets)
            times[name] = time.perf_counter() - start
        return times

    first = seconds()
    timed = [seconds() for _ in range(rounds)]
    ratios = {name: [times[name] / times["keras"] for times in timed] for name in ("ours", "frozen")}
    return {
        "image_size": image_size,
        "first_step_s": first,
        "step_s": {name: statistics.median(times[name] for times in timed) for name in steps},
        "ratio": {name: statistics.median(values) for name, values in ratios.items()},
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, nargs="+", default=[71, 160])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frozen-blocks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for size in options.image_size:
        rows.append(row := compare(size, options.batch_size, options.frozen_blocks, options.rounds))
        for name, seconds in row["step_s"].items():
            ratio = f", {row['ratio'][name]:.2f} of Keras's" if name in row["ratio"] else ""
            print(f"{size} px, {name}: {seconds:.2f} s per step{ratio}; the first {row['first_step_s'][name]:.1f} s")
    if options.json:
        settings = {name: getattr(options, name) for name in ("batch_size", "frozen_blocks", "rounds")}
        write_json(options.json, {"settings": settings, "machine": to_json(describe_machine()), "rows": rows})


if __name__ == "__main__":
    main()
