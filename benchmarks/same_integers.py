"""Do the int8 TFLite file and the int8 ONNX file lowered from it answer alike, on a run's test split?

    python -m benchmarks.same_integers [--run DIR] [--json FILE]

LiteRT is the reference; ONNX Runtime and, where installed, OpenVINO run the ONNX file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.processors import usable_cores
from cxr_edge.records import to_json
from cxr_edge.runs import find_run
from cxr_edge.runtimes.base import runtime_named, runtimes_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = find_run(options.run)
    split = run_split(run)
    images = np.asarray(decoded(split, "test", run.config().options.image_size))
    files = {(artifact.quantization, artifact.format): artifact.path for artifact in read_bundle(run.bundle)}
    rows = []
    for quantization in ("int8", "int8-ptq"):
        if not {(quantization, "tflite"), (quantization, "onnx")} <= set(files):
            continue
        tflite = runtime_named("litert").load(files[quantization, "tflite"], usable_cores())
        reference = score_images(tflite, images)
        for runtime in runtimes_for("onnx"):
            answers = score_images(runtime.load(files[quantization, "onnx"], usable_cores()), images)
            agreement = float((reference.argmax(axis=1) == answers.argmax(axis=1)).mean())
            largest = float(np.abs(reference - answers).max())
            rows.append(
                {"quantization": quantization, "runtime": runtime.title, "images": len(images), "agreement": agreement,
                 "largest_difference": largest}
            )  # fmt: skip
            print(f"{quantization:9} {runtime.title:13} agreement {100 * agreement:.2f} %, largest diff {largest:.4f}")
    if options.json:
        write_json(options.json, {"machine": to_json(describe_machine()), "rows": rows})


if __name__ == "__main__":
    main()
