"""How fast could int8 Xception be here? The best rate of a pointwise convolution on each runtime, one thread.

    python -m benchmarks.pointwise_bound [--json FILE]

Pointwise convolutions are nearly all of Xception's multiply-accumulates. The bound is the time they take at the best
rate that a runtime reaches on them alone, with nothing else to do: depthwise convolutions, sums, pooling and
requantization come on top of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import JsonObject, to_json
from cxr_edge.runtimes.base import Session, runtimes_for

#: Channels in and out, and the side of the image, of Xception's middle flow at 299 px.
CHANNELS, SIDE = 728, 19
#: Multiply-accumulates of Xception at 299 px by `cxr-edge inspect`, one grey channel.
XCEPTION_MACS = 8.343e9
LAYERS = 8


def pointwise_model() -> onnx.ModelProto:
    """Some pointwise convolutions in a row, uint8 by int8 per channel, with the ends of the artifact contract."""
    random = np.random.default_rng(0)
    scale, zero = numpy_helper.from_array(np.float32(0.02), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    constants, nodes, value = [scale, zero], [], "image"
    constants.append(numpy_helper.from_array(np.array([0, CHANNELS, SIDE, SIDE], dtype=np.int64), "shape"))
    nodes.append(helper.make_node("Reshape", [value, "shape"], ["planes"]))
    value = "planes"
    for index in range(LAYERS):
        kernel = random.integers(-127, 128, (CHANNELS, CHANNELS, 1, 1)).astype(np.int8)
        constants.append(numpy_helper.from_array(kernel, f"kernel{index}"))
        constants.append(numpy_helper.from_array(np.full(CHANNELS, 4e-4, np.float32), f"steps{index}"))
        constants.append(numpy_helper.from_array(np.zeros(CHANNELS, np.int8), f"origins{index}"))
        nodes += [
            helper.make_node("DequantizeLinear", [value, "scale", "zero"], [f"x{index}"]),
            helper.make_node(
                "DequantizeLinear", [f"kernel{index}", f"steps{index}", f"origins{index}"], [f"w{index}"], axis=0
            ),
            helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"y{index}"], kernel_shape=[1, 1]),
            helper.make_node("QuantizeLinear", [f"y{index}", "scale", "zero"], [f"q{index}"]),
        ]
        value = f"q{index}"
    nodes += [
        helper.make_node("DequantizeLinear", [value, "scale", "zero"], ["last"]),
        helper.make_node("ReduceMean", ["last"], ["probabilities"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "pointwise",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, CHANNELS])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CHANNELS])],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def best_seconds(session: Session, image: np.ndarray, repeats: int = 200) -> float:
    """The shortest of many inferences: what the CPU can do, not what it usually does."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run(image)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    image = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    macs = LAYERS * SIDE * SIDE * CHANNELS * CHANNELS
    rows: list[JsonObject] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pointwise.onnx"
        onnx.save(pointwise_model(), path)
        for runtime in runtimes_for("onnx"):
            rate = macs / best_seconds(runtime.load(path, 1), image)
            rows.append({"runtime": runtime.title, "macs_per_second": rate, "bound_ms": 1000 * XCEPTION_MACS / rate})
    for row in rows:
        print(
            f"{row['runtime']:13} {row['macs_per_second'] / 1e9:6.1f} GMAC/s: Xception at 299 px cannot take less than "
            f"{row['bound_ms']:.1f} ms"
        )
    if options.json:
        write_json(options.json, {"machine": to_json(describe_machine()), "threads": 1, "rows": rows})


if __name__ == "__main__":
    main()
