"""Does `cxr-edge bench` agree with a hand-written loop, and with itself when repeated?

    python -m benchmarks.by_hand [--bundle DIR] [--threads N] [--repeats N] [--json FILE]

In turn, each in separate processes: the loop below for each int8 artifact on LiteRT and ONNX Runtime, and
`cxr-edge bench --quick`. A bench is compared with the loops before and after it, its ratios with those of the last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.processors import usable_cores
from cxr_edge.records import to_json
from cxr_edge.runtimes.selection import find_bundle

LOOPS = {
    "onnx": """
import sys, time, numpy, onnxruntime
path, threads = sys.argv[1], int(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
size = session.get_inputs()[0].shape[1]
image = numpy.random.default_rng(0).integers(0, 256, (1, size, size, 1), dtype=numpy.uint8)
times = []
for index in range(350):
    start = time.perf_counter()
    session.run(["probabilities"], {"image": image})
    times.append(time.perf_counter() - start)
print(1000 * numpy.median(times[50:]))
""",
    "litert": """
import sys, time, numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
(image,), (output, *_) = interpreter.get_input_details(), interpreter.get_output_details()
pixels = numpy.random.default_rng(0).integers(0, 256, image["shape"], dtype=numpy.uint8)
times = []
for index in range(350):
    start = time.perf_counter()
    interpreter.set_tensor(image["index"], pixels)
    interpreter.invoke()
    interpreter.get_tensor(output["index"])
    times.append(time.perf_counter() - start)
print(1000 * numpy.median(times[50:]))
""",
}
BASE = "xception-float32.tflite@litert"
FILES = {"onnx": "xception-int8.onnx", "litert": "xception-int8.tflite"}


def by_hand(runtime: str, path: Path, threads: int) -> float:
    """Median milliseconds of the loop."""
    command = [sys.executable, "-c", LOOPS[runtime], str(path), str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def by_bench(bundle: Path, threads: int) -> dict[str, dict[str, float]]:
    """Each row, by its id, of a quick bench; its ratios are to `BASE`."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "cxr_edge", "bench", "--bundle", str(bundle), "--json", str(output)]
        command += [
            "--runtime",
            "litert",
            "--runtime",
            "onnx",
            "--threads",
            str(threads),
            "--quick",
            "--baseline",
            BASE,
        ]
        subprocess.run(command, check=True, capture_output=True)
        rows = json.loads(output.read_text(encoding="utf-8"))["rows"]
    return {row["id"]: row for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle = find_bundle(arguments.bundle)
    benches = []
    ratios: dict[str, list[float]] = {runtime: [] for runtime in FILES}
    loops = [{runtime: by_hand(runtime, bundle / name, arguments.threads) for runtime, name in FILES.items()}]
    for _ in range(arguments.repeats):
        benches.append(by_bench(bundle, arguments.threads))
        loops.append({runtime: by_hand(runtime, bundle / name, arguments.threads) for runtime, name in FILES.items()})
        for runtime, name in FILES.items():
            # A machine drifts within minutes: the loops before and after a bench are what it is held against.
            around = (loops[-2][runtime] + loops[-1][runtime]) / 2
            ratios[runtime].append(benches[-1][f"{name}@{runtime}"]["p50_ms"] / around)
    rows = []
    for runtime, name in FILES.items():
        hand = float(np.median([medians[runtime] for medians in loops]))
        ratio = float(np.median(ratios[runtime]))
        rows.append({"id": f"{name}@{runtime}", "by_hand_ms": hand, "ratio": ratio, "ratios": ratios[runtime]})
        print(f"{name} on {runtime}: bench / by hand ({hand:.3f} ms) {ratio:.3f}")
    twice = []
    for first, second in itertools.pairwise(benches):
        for name in first:
            twice.append({"id": name, "ratio": second[name]["ratio"] / first[name]["ratio"]})
    if twice:
        worst = max(twice, key=lambda row: abs(float(row["ratio"]) - 1))
        print(f"a bench against the one before: ratios to {BASE} differ by {worst['ratio'] - 1:+.1%} at most")
    if arguments.json:
        record = {"machine": to_json(describe_machine()), "threads": arguments.threads, "by_hand": rows, "twice": twice}
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
