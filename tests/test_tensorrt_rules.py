"""int8 of the `jetson-orin` recipe keeps TensorRT's documented rules for quantized ONNX files.

TensorRT itself is not available, so this tests the graph. The rules are from:

- explicit quantization, https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html:
  symmetric signed int8; a `QuantizeLinear` and a `DequantizeLinear` at every input of a layer that shall compute in
  int8, pre-quantized weights behind a `DequantizeLinear`;
- the operators, types and zero points that its ONNX parser reads, docs/operators.md of github.com/onnx/onnx-tensorrt,
  and `QuantDequantLinearHelper` in its builtin_op_importers.cpp: three inputs, zero points of 0, positive scales, as
  many as output channels, per-channel scales for weights alone;
- no int32: https://github.com/onnx/onnx-tensorrt/issues/850 ("only activation types allowed as input to this layer");
- uint8 is for the network's inputs, which are converted to float before anything else,
  https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/FoundationalTypes/DataType.html.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cxr_edge.exporting.recipe_file import read_recipe
from cxr_edge.lowering.lower import lower_to_onnx
from tests.tflite_files import RELU, SAME, VALID, Network

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: Operators with a kernel, and its input.
KERNELS = {"Conv": 1, "Gemm": 1}
#: What the parser reads, by the types that it reads it in.
IN_FLOAT = {"Add", "Cast", "Conv", "Div", "Flatten", "Gemm", "GlobalAveragePool", "MaxPool", "Mul", "Relu", "Softmax"}
IN_ANY = {QUANTIZE, DEQUANTIZE, "Reshape", "Transpose"}


def network() -> bytes:
    """The kinds of layers of an artifact with a heat map, as fine-tuned for the recipe: the first layer in float."""
    net = Network(images=1, symmetric=True)
    kernel = (np.arange(9 * 4).reshape(1, 3, 3, 4) * 37 % 255 - 127).astype(int)
    scales = [0.01, 0.02, 0.03, 0.04]
    depthwise = net.activation((7, 6, 4), 8.0, name="depthwise")
    inputs = [net.source, net.constant(kernel, scale=scales, channel_axis=3), -1]
    options = {"padding": SAME, "strideH": 1, "strideW": 1, "depthMultiplier": 1}
    net.operator("DEPTHWISE_CONV_2D", inputs, depthwise, "DepthwiseConv2DOptions", **options)
    pointwise = net.activation((7, 6, 4), 8.0, name="pointwise")
    inputs = [depthwise, net.constant(kernel.reshape(-1)[:16].reshape(4, 1, 1, 4), scale=scales)]
    inputs.append(net.constant([101, -7, 55, 3000], "int32", scale=scales))
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "fusedActivationFunction": RELU}
    net.operator("CONV_2D", inputs, pointwise, "Conv2DOptions", **options)
    pooled = net.activation((4, 3, 4), 8.0, name="pooled")
    window = {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
    net.operator("MAX_POOL_2D", [pointwise], pooled, "Pool2DOptions", **window)
    shortcut = net.activation((4, 3, 4), 4.0, name="shortcut")
    inputs = [net.source, net.constant(kernel.reshape(-1)[:16].reshape(4, 1, 1, 4), scale=scales)]
    inputs.append(net.constant([9, 8, 7, -6], "int32", scale=scales))
    net.operator("CONV_2D", inputs, shortcut, "Conv2DOptions", padding=VALID, strideH=2, strideW=2)
    total = net.activation((4, 3, 4), 8.0, name="total")
    net.operator("ADD", [pooled, shortcut], total, "AddOptions", fusedActivationFunction=RELU)
    mean = net.mean(total, 4.0)
    logits = net.activation((4,), 2.0, name="logits")
    inputs = [mean, net.constant(kernel.reshape(-1)[:16].reshape(4, 4), scale=scales), -1]
    net.operator("FULLY_CONNECTED", inputs, logits, "FullyConnectedOptions")
    vector = net.reshaped(net.dequantized(mean))
    shifted = net.operator("ADD", [vector, net.constant(0.5, "float32")], net.floats((1, 1, 4)), "AddOptions")
    quotient = net.operator("DIV", [vector, shifted], net.floats((1, 1, 4)), "DivOptions")
    product = net.operator("MUL", [net.dequantized(total), quotient], net.floats((4, 3, 4)), "MulOptions")
    return net.finish(product, logits)


class Lowered:
    """`network` as lowered for the recipe, with lookups for the tests."""

    def __init__(self) -> None:
        recipe = read_recipe("jetson-orin")
        self.model = lower_to_onnx(network(), recipe.activations, recipe.opset, recipe.batch.size)
        graph = onnx.shape_inference.infer_shapes(self.model, strict_mode=True).graph
        self.nodes = list(graph.node)
        self.constants: dict[str, NDArray[np.generic]] = {
            constant.name: numpy_helper.to_array(constant) for constant in graph.initializer
        }
        self.makers = {node.output[0]: node for node in self.nodes}
        values = (*graph.input, *graph.output, *graph.value_info)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {constant.name: constant.data_type for constant in graph.initializer}

    def of_kind(self, *kinds: str) -> Iterator[NodeProto]:
        return (node for node in self.nodes if node.op_type in kinds)

    def readers(self, name: str) -> list[NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def kernels(self) -> Iterator[tuple[NodeProto, NodeProto]]:
        """Each layer with a kernel that is dequantized, and what dequantizes it."""
        for node in self.of_kind(*KERNELS):
            maker = self.makers.get(node.input[KERNELS[node.op_type]])
            if maker is not None:
                yield node, maker


@pytest.fixture(scope="module")
def lowered() -> Lowered:
    return Lowered()


def test_every_scale_is_a_positive_constant_and_every_zero_point_0(lowered: Lowered) -> None:
    pairs = list(lowered.of_kind(QUANTIZE, DEQUANTIZE))
    assert len(pairs) > 20
    for node in pairs:
        _, scale, zero_point = (lowered.constants.get(name) for name in node.input)
        assert scale is not None
        assert zero_point is not None
        assert (scale > 0).all()
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
        assert zero_point.size == scale.size


def test_only_int8_is_dequantized(lowered: Lowered) -> None:
    for node in lowered.of_kind(DEQUANTIZE):
        assert lowered.types[node.input[0]] == TensorProto.INT8
    # What is quantized is read by what dequantizes it, and by nothing else.
    for node in lowered.of_kind(QUANTIZE):
        assert {reader.op_type for reader in lowered.readers(node.output[0])} == {DEQUANTIZE}


def test_kernels_have_a_scale_per_output_channel_and_activations_one(lowered: Lowered) -> None:
    kernels = list(lowered.kernels())
    assert {node.op_type for node, _ in kernels} == {"Conv", "Gemm"}
    for _, dequantize in kernels:
        kernel, scales, _ = (lowered.constants[name] for name in dequantize.input)
        # Output channels come first in ONNX's kernels, depthwise ones too; so they do with transB.
        assert helper.get_node_attr_value(dequantize, "axis") == 0
        assert scales.shape == kernel.shape[:1]
        assert np.abs(kernel.astype(int)).max() <= 127
    of_kernels = {dequantize.output[0] for _, dequantize in kernels}
    for node in lowered.of_kind(QUANTIZE, DEQUANTIZE):
        if node.output[0] not in of_kernels:
            assert lowered.constants[node.input[1]].size == 1
    for node in lowered.of_kind("Gemm"):
        assert helper.get_node_attr_value(node, "transB") == 1


def test_int8_layers_have_a_quantization_pair_at_every_input_and_output(lowered: Lowered) -> None:
    for node, _ in lowered.kernels():
        assert lowered.makers[node.input[0]].op_type == DEQUANTIZE
        (reader,) = lowered.readers(node.output[0])
        # A ReLU is fused, if it comes before the quantization.
        (last,) = lowered.readers(reader.output[0]) if reader.op_type == "Relu" else (reader,)
        assert last.op_type == QUANTIZE
    (total,) = (node for node in lowered.of_kind("Add") if node.name == "total")
    for node in (total, *lowered.of_kind("MaxPool")):
        assert {lowered.makers[name].op_type for name in node.input} == {DEQUANTIZE}


def test_a_dequantization_has_one_reader(lowered: Lowered) -> None:
    for node in lowered.of_kind(DEQUANTIZE):
        assert len(lowered.readers(node.output[0])) == 1


def test_biases_are_constants_in_float(lowered: Lowered) -> None:
    biases = [node.input[2] for node in lowered.of_kind(*KERNELS) if len(node.input) > 2]
    assert len(biases) == 3
    assert all(lowered.constants[name].dtype == np.float32 for name in biases)
    assert TensorProto.INT32 not in lowered.types.values()


def test_the_image_is_converted_to_float_before_anything_else(lowered: Lowered) -> None:
    (reader,) = lowered.readers("image")
    assert reader.op_type == "Cast"
    assert lowered.types[reader.output[0]] == TensorProto.FLOAT
    assert [name for name, kind in lowered.types.items() if kind == TensorProto.UINT8] == ["image"]


def test_every_operator_has_a_type_that_the_parser_reads(lowered: Lowered) -> None:
    assert {node.op_type for node in lowered.nodes} <= IN_FLOAT | IN_ANY
    for node in lowered.of_kind(*IN_FLOAT):
        assert lowered.types[node.output[0]] == TensorProto.FLOAT
        if node.op_type != "Cast":
            assert {lowered.types[name] for name in node.input} == {TensorProto.FLOAT}
    assert lowered.model.opset_import[0].version <= 17
