"""Does mixed precision pay on this machine? Times training steps of Xception under each policy, interleaved.

python -m benchmarks.training_precision [--image-size 224] [--batch-size 8] [--frozen-blocks 0] [--rounds 5]
    [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import to_json
from cxr_edge.training.backend import tf
from cxr_edge.training.precision import step_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--frozen-blocks", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    policies = ["float32", "mixed_bfloat16"]
    if tf.config.list_physical_devices("GPU"):
        policies.append("mixed_float16")

    sizes = (options.image_size, options.batch_size)
    timed = step_seconds(policies, *sizes, 3, options.frozen_blocks, options.rounds)
    seconds = dict(zip(policies, timed, strict=True))
    rows = []
    for policy in policies:
        milliseconds = 1000 * statistics.median(seconds[policy]) / options.batch_size
        ratio = statistics.median(b / a for a, b in zip(seconds["float32"], seconds[policy], strict=True))
        rows.append({"policy": policy, "ms_an_image": milliseconds, "ratio_to_float32": ratio})
        print(f"{policy:16} {milliseconds:8.1f} ms per image, {ratio:.2f} times float32")
    if options.json:
        settings = {name: getattr(options, name) for name in ("image_size", "batch_size", "frozen_blocks", "rounds")}
        write_json(options.json, {"settings": settings, "machine": to_json(describe_machine()), "rows": rows})


if __name__ == "__main__":
    main()
