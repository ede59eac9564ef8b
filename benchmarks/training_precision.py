"""Does mixed precision pay on this machine? Times training steps of Xception under each policy, interleaved.

    python benchmarks/training_precision.py [--image-size 224] [--batch-size 8] [--rounds 5] [--json FILE]

What it said on a CPU is in benchmarks/results/training_precision_*.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import to_json
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.xception import build_classifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    policies = ["float32", "mixed_bfloat16"]
    if tf.config.list_physical_devices("GPU"):
        policies.append("mixed_float16")

    shape = (options.batch_size, options.image_size, options.image_size, 1)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[np.arange(options.batch_size) % 3]
    models = {}
    for policy in policies:
        keras.mixed_precision.set_global_policy(policy)
        model = build_classifier(options.image_size, 3)
        model.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
        model.train_on_batch(images, targets)
        models[policy] = model
    seconds: dict[str, list[float]] = {policy: [] for policy in policies}
    for _ in range(options.rounds):
        for policy, model in models.items():
            start = time.perf_counter()
            model.train_on_batch(images, targets)
            seconds[policy].append(time.perf_counter() - start)
    rows = []
    for policy in policies:
        milliseconds = 1000 * statistics.median(seconds[policy]) / options.batch_size
        ratio = statistics.median(b / a for a, b in zip(seconds["float32"], seconds[policy], strict=True))
        rows.append({"policy": policy, "ms_an_image": milliseconds, "ratio_to_float32": ratio})
        print(f"{policy:16} {milliseconds:8.1f} ms per image, {ratio:.2f} times float32")
    if options.json:
        settings = {name: getattr(options, name) for name in ("image_size", "batch_size", "rounds")}
        write_json(options.json, {"settings": settings, "machine": to_json(describe_machine()), "rows": rows})


if __name__ == "__main__":
    main()
