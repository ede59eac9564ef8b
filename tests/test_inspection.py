"""What inspect counts, on files of a few operators; no training is needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.inspection.computation import Computation, ComputationVerdict, MultiplyingOperator
from cxr_edge.inspection.inspect import Inspection, inspect
from cxr_edge.inspection.tflite_computation import computation_of_tflite
from cxr_edge.lowering.activations import ActivationFormat
from cxr_edge.lowering.lower import lower_to_onnx
from cxr_edge.records import from_json, to_json
from tests.tflite_files import VALID, Network, TFLiteBuilder

PLACES = 7 * 6


def half_in_float() -> bytes:
    """The network's own int8 convolution of 4 kernels of one value, and one left in float of 5 kernels of 4."""
    network = Network()
    weights = [network.constant(np.ones((5, 1, 1, 4)), "float32"), network.constant(np.ones(5), "float32")]
    target = network.activation((7, 6, 5), name="kept")
    network.in_float("CONV_2D", network.source, weights, target, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)
    return network.finish(target)


@pytest.fixture(params=["tflite", "onnx"])
def inspection(request: pytest.FixtureRequest, tmp_path: Path) -> Inspection:
    path = tmp_path / f"other-int8.{request.param}"
    if request.param == "tflite":
        path.write_bytes(half_in_float())
    else:
        onnx.save(lower_to_onnx(half_in_float(), ActivationFormat(), 17, None), path)
    return inspect(path)


def test_multiply_accumulates_are_counted_by_number_type(inspection: Inspection) -> None:
    computation = inspection.computation
    assert computation is not None
    assert (computation.integer_macs, computation.float_macs) == (4 * PLACES, 5 * 4 * PLACES)
    assert (computation.integer_convolutions, computation.float_convolutions) == (1, 1)
    assert computation.integer_share == pytest.approx(1 / 6)
    assert len(computation.float_operators) == 1
    # Twenty float values take 80 bytes, in int8 they would take 20.
    assert computation.extra_bytes == 60


def test_a_file_of_another_tool_is_judged_by_its_name(inspection: Inspection) -> None:
    assert inspection.metadata is None
    assert inspection.claims is Quantization.INT8
    assert inspection.computation is not None
    assert inspection.computation.verdict is ComputationVerdict.FLOAT_DESPITE_ITS_NAME


def test_the_delegate_is_asked_about_tflite_files_alone(inspection: Inspection) -> None:
    if inspection.format == "onnx":
        assert inspection.delegate is None
    else:
        assert inspection.delegate is not None
        assert 0 < inspection.delegate.taken <= inspection.delegate.operators


def test_a_record_is_read_as_it_was_written(inspection: Inspection) -> None:
    assert from_json(Inspection, to_json(inspection)) == inspection


def test_a_record_keeps_the_keys_that_integrators_parse(inspection: Inspection) -> None:
    old = json.loads((Path(__file__).parent / "fixtures/a3fe295/inspect.json").read_text())
    record = to_json(inspection)
    assert set(record) >= set(old)
    assert set(record["computation"]) >= set(old["computation"])


def test_weights_count_alike_as_initializers_and_as_constant_nodes(tmp_path: Path) -> None:
    network = Network()
    model = lower_to_onnx(network.finish(network.source), ActivationFormat(), 17, None)
    onnx.save(model, tmp_path / "initializers-int8.onnx")
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    moved = onnx.helper.make_graph(
        [*nodes, *model.graph.node], "moved", list(model.graph.input), list(model.graph.output)
    )
    del model.graph.initializer[:]
    model.graph.CopyFrom(moved)
    onnx.save(model, tmp_path / "constants-int8.onnx")
    first, second = (inspect(tmp_path / f"{name}-int8.onnx").computation for name in ("initializers", "constants"))
    assert first is not None
    assert first == second
    assert first.verdict is ComputationVerdict.INT8


@pytest.mark.parametrize(
    ("dtype", "verdict"), [("uint8", ComputationVerdict.INT8), ("float32", ComputationVerdict.FLOAT)]
)
def test_a_uint8_convolution_of_tflite_is_in_integers(dtype: str, verdict: ComputationVerdict) -> None:
    builder = TFLiteBuilder()
    scale = {} if dtype == "float32" else {"scale": 0.5}
    image = builder.tensor((1, 5, 5, 1), dtype, **scale)
    kernel = builder.constant(np.ones((4, 3, 3, 1)), dtype, **scale)
    output = builder.tensor((1, 3, 3, 4), dtype, **scale)
    builder.operator("CONV_2D", [image, kernel], output, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)
    computation = computation_of_tflite(read_tflite(builder.content([image], [output])))
    assert computation.verdict(Quantization.FLOAT32) is verdict


@pytest.mark.parametrize(
    ("integer_macs", "int8_bytes", "claimed", "verdict"),
    [
        (99, 90, Quantization.INT8, ComputationVerdict.INT8),
        (98, 90, Quantization.INT8, ComputationVerdict.MIXED),
        (99, 89, Quantization.INT8, ComputationVerdict.MIXED),
        (99, 10, Quantization.INT8, ComputationVerdict.FLOAT_DESPITE_ITS_NAME),
        (0, 0, Quantization.MIXED, ComputationVerdict.FLOAT_DESPITE_ITS_NAME),
        (0, 0, Quantization.FP16, ComputationVerdict.FLOAT),
    ],
)
def test_a_verdict_weighs_work_and_weights(
    integer_macs: int, int8_bytes: int, claimed: Quantization, verdict: ComputationVerdict
) -> None:
    operators = (
        MultiplyingOperator("a", integer_macs, is_integer=True, is_convolution=True),
        MultiplyingOperator("b", 100 - integer_macs, is_integer=False, is_convolution=True),
    )
    kernel_bytes = {"int8": int8_bytes, "float32": 100 - int8_bytes}
    assert Computation(operators, {}, {}, kernel_bytes).verdict(claimed) is verdict


def test_scales_and_biases_are_no_weights_in_float(tmp_path: Path) -> None:
    """A network of few channels has a float scale for every few weights."""
    network, path = Network(), tmp_path / "int8.onnx"
    onnx.save(lower_to_onnx(network.finish(network.source), ActivationFormat(), 17, None), path)
    computation = inspect(path).computation
    assert computation is not None
    assert computation.weight_bytes["float32"] > computation.weight_bytes["int8"] / 5
    assert computation.verdict is ComputationVerdict.INT8
