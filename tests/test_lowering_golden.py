"""The bytes and the integers that the lowering writes do not change unnoticed; no training is needed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.lowering.activations import ActivationFormat, ActivationType
from cxr_edge.lowering.lower import HANDLERS, lower_to_onnx
from tests.tflite_files import RELU, SAME, VALID, Network

INT8 = ActivationType.INT8


def whole_network(symmetric: bool) -> bytes:
    """A file with every operator and every way of lowering it: strides, a fused ReLU, layers left in float."""
    network = Network(symmetric=symmetric)
    zero_point = network.source_zero_point
    kernel = (np.arange(9 * 4).reshape(1, 3, 3, 4) * 37 % 255 - 127).astype(int)
    scales = [0.01, 0.02, 0.03, 0.04]
    depthwise = network.activation((7, 6, 4), 8.0, zero_point, name="depthwise")
    inputs = [network.source, network.constant(kernel, scale=scales, channel_axis=3)]
    inputs.append(network.constant([101, -7, 55, 3000], "int32", scale=scales))
    options = {"padding": SAME, "strideH": 1, "strideW": 1, "depthMultiplier": 1, "fusedActivationFunction": RELU}
    network.operator("DEPTHWISE_CONV_2D", inputs, depthwise, "DepthwiseConv2DOptions", **options)
    pooled = network.activation((3, 3, 4), 8.0, zero_point, name="pooled")
    window = {"padding": VALID, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    network.operator("MAX_POOL_2D", [depthwise], pooled, "Pool2DOptions", **window)
    picked = network.activation((4, 3, 4), 4.0, zero_point, name="picked")
    inputs = [network.source, network.constant(kernel.reshape(-1)[:16].reshape(4, 1, 1, 4), scale=0.02)]
    inputs.append(network.constant([9, 8, 7, -6], "int32", scale=0.02))
    network.operator("CONV_2D", inputs, picked, "Conv2DOptions", padding=VALID, strideH=2, strideW=2)
    total = network.activation((3, 3, 4), 8.0, zero_point, name="total")
    network.operator("ADD", [pooled, pooled], total, "AddOptions", fusedActivationFunction=RELU)
    floating = network.activation((3, 3, 4), 8.0, zero_point, name="floating")
    weights = [
        network.constant(np.arange(16).reshape(4, 1, 1, 4) / 8, "float32"),
        network.constant([1, 2, 3, 4], "float32"),
    ]
    network.in_float("CONV_2D", total, weights, floating, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)
    mean = network.mean(floating, 4.0, zero_point)
    logits = network.activation((4,), 2.0, zero_point, name="logits")
    inputs = [mean, network.constant(kernel.reshape(-1)[:16].reshape(4, 4), scale=0.02), -1]
    network.operator("FULLY_CONNECTED", inputs, logits, "FullyConnectedOptions")
    vector = network.reshaped(network.dequantized(mean))
    shifted = network.operator(
        "ADD", [vector, network.constant(0.5, "float32")], network.floats((1, 1, 4)), "AddOptions"
    )
    quotient = network.operator("DIV", [vector, shifted], network.floats((1, 1, 4)), "DivOptions")
    product = network.floats((4, 3, 4))
    network.operator("MUL", [network.dequantized(picked), quotient], product, "MulOptions")
    return network.finish(product, logits)


#: SHA-256 of `whole_network` in ONNX, as lowered by commit a3fe295, where the formats had these names. The symmetric
#: one is newer: TensorRT needs the image converted first, and flattens in float.
GOLDEN = {
    "uint8": (ActivationFormat(), "92e61c2bbedfbb0507838fc224b400cc1ce0064a173ee01730a8e9f3f341e4f6"),
    "uint8-reduced": (
        ActivationFormat(reduced_range=True),
        "f063bc7e5d20c15c8a10802509e27cec4fe12321c85127a64847ca07a6b8542e",
    ),
    "int8": (ActivationFormat(INT8), "121067452fab87a99aa233b2965cee4f5af51d590f092953c1ee9322177080f3"),
    "int8-symmetric": (
        ActivationFormat(INT8, symmetric=True),
        "1a2c221c63adfdc5e20d5710b8c4b7ce707ceac39a9dda1f63a28d944c7fc5c4",
    ),
}


@pytest.mark.parametrize(("activations", "sha256"), GOLDEN.values(), ids=GOLDEN)
def test_equal_files_are_lowered_to_equal_bytes(activations: ActivationFormat, sha256: str) -> None:
    model = lower_to_onnx(whole_network(activations.symmetric), activations, 17, None)
    assert hashlib.sha256(model.SerializeToString()).hexdigest() == sha256


#: Kernel, bias and their scale, type and zero point of the output, of a convolution of these integers of scale 0.25 to
#: a tensor with a zero point of -5.
KERNEL, BIAS = [127, -127, 5, 64], [1001]
INTEGERS = {
    "uint8": (ActivationFormat(), KERNEL, BIAS, 0.25, "uint8", 123),
    "uint8-reduced": (ActivationFormat(reduced_range=True), [64, -64, 2, 32], [500], 0.5, "uint8", 123),
    "int8": (ActivationFormat(INT8), KERNEL, BIAS, 0.25, "int8", -5),
    "int8-reduced": (ActivationFormat(INT8, reduced_range=True), [64, -64, 2, 32], [500], 0.5, "int8", -5),
}


def lowered_convolution(activations: ActivationFormat) -> dict[str, np.ndarray]:
    """Constants of a convolution's kernel and bias, dequantized from integers or float, and of its output."""
    network = Network(symmetric=activations.symmetric)
    layer = network.activation((7, 6, 1), 0.5, 0 if activations.symmetric else -5, name="layer")
    inputs = [network.source, network.constant(np.reshape(KERNEL, (1, 1, 1, 4)), scale=0.25)]
    inputs.append(network.constant(BIAS, "int32", scale=0.25))
    network.operator("CONV_2D", inputs, layer, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)
    graph = lower_to_onnx(network.finish(layer), activations, 17, None).graph
    makers = {node.output[0]: node for node in graph.node}
    convolution = next(node for node in graph.node if node.name == "layer")
    quantize = next(node for node in graph.node if node.input[0] == convolution.output[0])
    names = {"zero_point": quantize.input[2]}
    for role, name in zip(("kernel", "bias"), convolution.input[1:], strict=True):
        inputs = makers[name].input if name in makers else [name]
        names |= dict(zip((role, f"{role}_scale", f"{role}_zero_point"), inputs, strict=False))
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {role: values[name] for role, name in names.items()}


@pytest.mark.parametrize(
    ("activations", "kernel", "bias", "scale", "dtype", "zero_point"), INTEGERS.values(), ids=INTEGERS
)
def test_the_integers_of_each_format(
    activations: ActivationFormat, kernel: list[int], bias: list[int], scale: float, dtype: str, zero_point: int
) -> None:
    constants = lowered_convolution(activations)
    assert constants["kernel"].dtype == np.int8
    assert constants["kernel"].reshape(-1).tolist() == kernel
    assert constants["kernel_zero_point"] == 0
    assert constants["bias"].dtype == np.int32
    assert constants["bias"].tolist() == bias
    assert constants["kernel_scale"] == constants["bias_scale"] == scale
    assert constants["zero_point"].dtype == dtype
    assert constants["zero_point"] == zero_point


def test_symmetric_int8_has_zero_points_of_0_and_biases_in_float() -> None:
    constants = lowered_convolution(ActivationFormat(INT8, symmetric=True))
    assert constants["kernel"].reshape(-1).tolist() == KERNEL
    assert constants["bias"].dtype == np.float32
    assert constants["bias"].tolist() == [1001 * 0.25]
    assert (constants["zero_point"].dtype, constants["zero_point"]) == (np.int8, 0)


def test_a_reduced_range_cannot_overflow_16_bits() -> None:
    for activation_type in ActivationType:
        kernel = lowered_convolution(ActivationFormat(activation_type, reduced_range=True))["kernel"]
        assert 2 * 255 * int(np.abs(kernel.astype(int)).max()) <= np.iinfo(np.int16).max


def test_the_golden_file_has_every_operator_that_can_be_lowered() -> None:
    model = read_tflite(whole_network(symmetric=False))
    assert {operator.kind for operator in model.operators} == set(HANDLERS)


def test_lowering_needs_no_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "whole.tflite").write_bytes(whole_network(symmetric=False))
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "tf_keras", "keras")))
from pathlib import Path
from cxr_edge.lowering.activations import ActivationFormat
from cxr_edge.lowering.lower import lower_to_onnx
lower_to_onnx(Path({str(tmp_path / "whole.tflite")!r}).read_bytes(), ActivationFormat(), 17, None)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_batch_and_opset_are_as_requested() -> None:
    model = lower_to_onnx(whole_network(symmetric=False), ActivationFormat(), 13, 1)
    assert model.opset_import[0].version == 13
    ends = [*model.graph.input, *model.graph.output]
    assert [end.name for end in ends] == ["image", "probabilities", "heatmap"]
    assert [end.type.tensor_type.shape.dim[0].dim_value for end in ends] == [1, 1, 1]
