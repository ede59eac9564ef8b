"""The lowering refuses what it does not support, and names it; no training is needed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cxr_edge.errors import ArtifactError, OptionError
from cxr_edge.lowering.activations import ActivationFormat, ActivationType
from cxr_edge.lowering.lower import lower_to_onnx
from tests.tflite_files import RELU, RELU6, VALID, Network

SYMMETRIC = ActivationFormat(ActivationType.INT8, symmetric=True)


def with_convolution(
    kernel_dtype: str = "int8",
    kernel_zero_point: int = 0,
    kernel_scale: float | tuple[()] = 0.1,
    bias_scale: float | tuple[()] = 0.1,
    bias_dtype: str = "int32",
    activation: int = 0,
    dilation: int = 1,
) -> bytes:
    """A pointwise convolution of four filters, from the source to a tensor `layer`."""
    network = Network()
    kernel = network.constant([[[[1] * 4]]] * 4, kernel_dtype, scale=kernel_scale, zero_point=kernel_zero_point)
    bias = network.constant([0] * 4, bias_dtype, scale=bias_scale)
    target = network.activation(network.shape[1:], name="layer")
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "dilationHFactor": dilation}
    inputs = [network.source, kernel, bias]
    network.operator("CONV_2D", inputs, target, "Conv2DOptions", fusedActivationFunction=activation, **options)
    return network.finish(target)


def a_kernel_that_is_computed() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], name="layer")
    kernel = network.tensor((4, 1, 1, 4), scale=0.1, name="kernel")
    inputs = [network.source, kernel, network.constant([0] * 4, "int32", scale=0.1)]
    network.operator("CONV_2D", inputs, target, "Conv2DOptions", padding=VALID, strideH=1, strideW=1)
    return network.finish(target)


def a_pooling(scale: float = 1.0, activation: int = 0) -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], scale, network.source_zero_point, name="layer")
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "filterHeight": 1, "filterWidth": 1}
    inputs = [network.source]
    network.operator("MAX_POOL_2D", inputs, target, "Pool2DOptions", fusedActivationFunction=activation, **options)
    return network.finish(target)


def a_mean_over_channels() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:3], name="layer")
    network.operator("MEAN", [network.source, network.constant([3], "int32")], target, "ReducerOptions")
    return network.finish(network.source, logits=target)


def a_quantize_between_integers() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], scale=2.0, name="layer")
    return network.finish(network.operator("QUANTIZE", [network.source], target, "QuantizeOptions"))


def a_constant_of_several_values() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], name="layer")
    constant = network.constant([1, 2, 3, 4], "float32")
    network.in_float("ADD", network.source, [constant], target, "AddOptions")
    return network.finish(target)


def a_constant_of_integers() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], name="layer")
    network.operator("ADD", [network.source, network.constant([1], scale=1.0)], target, "AddOptions")
    return network.finish(target)


def a_product_of_integers() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], name="layer")
    return network.finish(network.operator("MUL", [network.source, network.source], target, "MulOptions"))


def a_reshape_of_an_image() -> bytes:
    network = Network(height=1, width=2)
    target = network.activation((2, 1, 4), name="layer")
    shape = network.constant([3, 2, 1, 4], "int32")
    return network.finish(network.operator("RESHAPE", [network.source, shape], target, "ReshapeOptions"))


def an_unknown_operator() -> bytes:
    network = Network()
    target = network.activation(network.shape[1:], name="layer")
    return network.finish(network.operator("LOGISTIC", [network.source], target))


def a_fully_connected_layer_of_an_image() -> bytes:
    network = Network()
    inputs = [network.source, network.constant([[1] * 4] * 4, scale=0.1), -1]
    target = network.activation(network.shape[1:], name="layer")
    options = {"keepNumDims": True}
    return network.finish(network.operator("FULLY_CONNECTED", inputs, target, "FullyConnectedOptions", **options))


def a_softmax_of_integers() -> bytes:
    network = Network()
    target = network.activation((4,), 1 / 256, -128)
    network.operator("SOFTMAX", [network.mean(network.source)], target, "SoftmaxOptions", beta=1.0)
    return network.content([network.image], [target])


def no_softmax() -> bytes:
    network = Network()
    return network.content([network.image], [network.dequantized(network.mean(network.source))])


def an_activation_per_channel() -> bytes:
    network = Network()
    target = network.tensor(network.shape, scale=[1.0] * 4, channel_axis=3, name="layer")
    network.operator("ADD", [network.source, network.source], target, "AddOptions")
    return network.finish(network.source)


REFUSALS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a kernel of another type": (lambda: with_convolution(kernel_dtype="uint8"), "not a symmetric int8 kernel"),
    "a kernel with zero points": (lambda: with_convolution(kernel_zero_point=3), "not a symmetric int8 kernel"),
    "a kernel that is computed": (a_kernel_that_is_computed, "tensor kernel: not a symmetric int8 kernel"),
    "a kernel without a scale": (lambda: with_convolution(kernel_scale=()), "not a symmetric int8 kernel"),
    "a bias without a scale": (lambda: with_convolution(bias_scale=()), "not an int32 bias"),
    "a bias of another type": (lambda: with_convolution(bias_dtype="int64"), "not an int32 bias"),
    "a fused ReLU6": (lambda: with_convolution(activation=RELU6), "layer: a fused RELU6"),
    "dilation": (lambda: with_convolution(dilation=2), "layer: a CONV_2D with dilation"),
    "pooling to another scale": (lambda: a_pooling(scale=2.0), "layer: a MAX_POOL_2D that changes its scale"),
    "pooling with a ReLU": (lambda: a_pooling(activation=RELU), "layer: a MAX_POOL_2D with a fused activation"),
    "a mean over channels": (a_mean_over_channels, "layer: a MEAN over axes other than"),
    "requantization": (a_quantize_between_integers, "layer: a QUANTIZE that is not the image's"),
    "a sum with a vector": (a_constant_of_several_values, "constant of several values"),
    "a sum with an integer": (a_constant_of_integers, "of integers, has no lowering"),
    "a product of integers": (a_product_of_integers, "layer: a MUL of integers"),
    "a reshape of an image": (a_reshape_of_an_image, "layer: a RESHAPE of anything but a vector"),
    "a dense layer of an image": (a_fully_connected_layer_of_an_image, "no lowering to valid ONNX"),
    "an unknown operator": (an_unknown_operator, "TFLite operator LOGISTIC"),
    "an int8 softmax": (a_softmax_of_integers, "int8 softmax"),
    "no softmax": (no_softmax, "does not end in a softmax"),
    "an activation per channel": (an_activation_per_channel, "tensor layer: not quantized per tensor"),
    "something else than TFLite": (lambda: b"PK" * 10, "not a TFLite file"),
    "a damaged file": (lambda: no_softmax()[:200], "a damaged TFLite file"),
}


@pytest.mark.parametrize(("file", "message"), REFUSALS.values(), ids=REFUSALS)
def test_an_unsupported_file_is_refused_with_the_reason(file: Callable[[], bytes], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        lower_to_onnx(file(), ActivationFormat(), 17, None)


def test_symmetric_activations_need_zero_points_of_0() -> None:
    network = Network()
    with pytest.raises(ArtifactError, match=r"tensor grey: its zero point is -128; symmetric activations need"):
        lower_to_onnx(network.finish(network.source), SYMMETRIC, 17, None)


def test_symmetric_uint8_is_no_activation_format() -> None:
    with pytest.raises(OptionError, match="activation_type uint8"):
        ActivationFormat(symmetric=True).check()
