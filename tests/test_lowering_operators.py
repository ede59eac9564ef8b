"""Each operator's lowering computes TFLite's integers, in every activation format; no training is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_edge.lowering.activations import ActivationFormat, ActivationType
from cxr_edge.lowering.lower import lower_to_onnx
from tests.tflite_files import NONE, RELU, SAME, VALID, Network, run_onnx, run_tflite

INT8 = ActivationType.INT8
FORMATS = {
    "uint8": ActivationFormat(),
    "uint8-reduced": ActivationFormat(reduced_range=True),
    "int8": ActivationFormat(INT8),
    "int8-reduced": ActivationFormat(INT8, reduced_range=True),
    "int8-symmetric": ActivationFormat(INT8, symmetric=True),
}
every_format = pytest.mark.parametrize("activations", FORMATS.values(), ids=FORMATS)


def check(network: Network, content: bytes, activations: ActivationFormat, step: float, tolerance: int) -> None:
    """The heat maps of both runtimes differ by `tolerance` integers of a scale of `step`, and are not all the same."""
    images = network.images()
    _, expected = run_tflite(content, images)
    probabilities, heatmap = run_onnx(lower_to_onnx(content, activations, 17, None), images)
    assert heatmap.shape == expected.shape
    assert len(np.unique(expected)) > 3
    assert np.abs(heatmap - expected).max() / step <= tolerance + 1e-3
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def even(shape: tuple[int, ...], seed: int = 1) -> Any:
    """Kernel integers from -60 to 60: halved, they are still integers, and no two products saturate 16 bits."""
    return 2 * np.random.default_rng(seed).integers(-30, 31, shape)


def convolution(
    network: Network,
    window: tuple[int, int] = (3, 3),
    strides: tuple[int, int] = (1, 1),
    padding: int = VALID,
    activation: int = NONE,
    zero_point: int = 0,
    kind: str = "CONV_2D",
    multiplier: int = 1,
) -> int:
    """A convolution of the network's source, with a scale per channel; its output, of scale 4."""
    depthwise = kind == "DEPTHWISE_CONV_2D"
    images, height, width, channels = network.shape
    filters = channels * multiplier if depthwise else 5
    kernel = even((1, *window, filters)) if depthwise else even((filters, *window, channels))
    scales = np.linspace(0.01, 0.03, filters).tolist()
    inputs = [network.source, network.constant(kernel, scale=scales, channel_axis=3 if depthwise else 0)]
    inputs.append(network.constant(even((filters,), 2) * 20, "int32", scale=scales))
    extents = [
        -(-size // stride) if padding == SAME else -(-(size - extent + 1) // stride)
        for size, extent, stride in zip((height, width), window, strides, strict=True)
    ]
    target = network.tensor((images, *extents, filters), scale=4.0, zero_point=zero_point, name="layer")
    options = {"padding": padding, "strideH": strides[0], "strideW": strides[1], "fusedActivationFunction": activation}
    if depthwise:
        return network.operator(kind, inputs, target, "DepthwiseConv2DOptions", depthMultiplier=multiplier, **options)
    return network.operator(kind, inputs, target, "Conv2DOptions", **options)


@every_format
def test_quantize_and_dequantize_change_nothing(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    check(network, network.finish(network.source), activations, step=1, tolerance=0)


@pytest.mark.parametrize("activations", [FORMATS["uint8"], FORMATS["int8"]], ids=["uint8", "int8"])
def test_the_image_arrives_as_its_grey_values(activations: ActivationFormat) -> None:
    network = Network()
    content = network.finish(network.grey)
    images = network.images()
    _, heatmap = run_onnx(lower_to_onnx(content, activations, 17, None), images)
    assert np.array_equal(heatmap, images)


@every_format
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_a_convolution(activations: ActivationFormat, kind: str) -> None:
    network = Network(symmetric=activations.symmetric)
    target = convolution(network, padding=SAME, strides=(2, 2), kind=kind)
    check(network, network.finish(target), activations, step=4, tolerance=1)


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_biases_compensate_for_the_shift_of_a_reduced_range(kind: str) -> None:
    network = Network()
    images, height, width, channels = network.shape
    depthwise = kind == "DEPTHWISE_CONV_2D"
    scales = [0.02] * channels
    # Shared by both layers, whose sums shift by different amounts.
    bias = network.constant([40] * channels, "int32", scale=scales)
    for integer in (3, 7):
        # All odd, and of the sign of the pixels that they meet: every rounding shifts the sum in the same direction.
        kernel = np.resize([integer, -integer], (1, 1, 1, channels) if depthwise else (channels, 1, 1, channels))
        constant = network.constant(kernel, scale=scales, channel_axis=3 if depthwise else 0)
        target = network.tensor(
            (images, height, width, channels), scale=0.25 if depthwise else 1.0, name=f"by{integer}"
        )
        options = {"padding": VALID, "strideH": 1, "strideW": 1, **({"depthMultiplier": 1} if depthwise else {})}
        options_type = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
        network.operator(kind, [network.source, constant, bias], target, options_type, **options)
    content, pictures = network.finish(target), network.images() // 4 + 190
    _, expected = run_tflite(content, pictures)

    def mean_error(representative: Any) -> float:
        model = lower_to_onnx(content, FORMATS["uint8-reduced"], 17, None, representative)
        return float(np.abs((run_onnx(model, pictures)[1] - expected).mean(axis=(0, 1, 2))).max())

    assert mean_error(pictures) <= 0.1 * mean_error(None)


@pytest.mark.parametrize(
    ("name", "zero_point"),
    [(name, zero_point) for name in FORMATS for zero_point in ((0,) if "symmetric" in name else (-128, -5, 0))],
)
def test_a_fused_relu_clips_at_the_zero_point(name: str, zero_point: int) -> None:
    activations = FORMATS[name]
    network = Network(symmetric=activations.symmetric)
    content = network.finish(convolution(network, activation=RELU, zero_point=zero_point))
    assert run_tflite(content, network.images())[1].min() == 0
    assert run_onnx(lower_to_onnx(content, activations, 17, None), network.images())[1].min() == 0
    check(network, content, activations, step=4, tolerance=1)


@every_format
def test_a_strided_pointwise_convolution_samples_the_right_pixels(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    target = convolution(network, window=(1, 1), strides=(2, 3), padding=SAME)
    check(network, network.finish(target), activations, step=4, tolerance=1)


@every_format
def test_a_depthwise_convolution_with_several_filters_a_channel(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    target = convolution(network, kind="DEPTHWISE_CONV_2D", multiplier=2)
    check(network, network.finish(target), activations, step=4, tolerance=1)


@every_format
@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(6, 11), st.integers(6, 11)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from([SAME, VALID]),
)
def test_padding_and_strides_of_any_size(
    activations: ActivationFormat,
    kind: str,
    size: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: int,
) -> None:
    network = Network(*size, symmetric=activations.symmetric)
    if kind == "MAX_POOL_2D":
        content = network.finish(max_pool(network, window, strides, padding))
        check(network, content, activations, step=1, tolerance=0)
    else:
        target = convolution(network, window, strides, padding, kind=kind)
        check(network, network.finish(target), activations, step=4, tolerance=1)


@every_format
@pytest.mark.parametrize("activation", [NONE, RELU])
def test_a_convolution_left_in_float(activations: ActivationFormat, activation: int) -> None:
    network = Network(symmetric=activations.symmetric)
    weights = [network.constant(even((5, 1, 1, 4)) / 100, "float32"), network.constant(np.arange(5), "float32")]
    target = network.activation((*network.shape[1:3], 5), scale=4.0, zero_point=0)
    options = {"padding": VALID, "strideH": 1, "strideW": 1, "fusedActivationFunction": activation}
    network.in_float("CONV_2D", network.source, weights, target, "Conv2DOptions", **options)
    check(network, network.finish(target), activations, step=4, tolerance=1)


def max_pool(
    network: Network, window: tuple[int, ...] = (3, 3), strides: tuple[int, ...] = (2, 2), padding: int = SAME
) -> int:
    images, height, width, channels = network.shape
    extents = [
        -(-size // stride) if padding == SAME else -(-(size - extent + 1) // stride)
        for size, extent, stride in zip((height, width), window, strides, strict=True)
    ]
    target = network.tensor((images, *extents, channels), scale=1.0, zero_point=network.source_zero_point, name="layer")
    options = {"padding": padding, "strideH": strides[0], "strideW": strides[1]}
    options |= {"filterHeight": window[0], "filterWidth": window[1]}
    return network.operator("MAX_POOL_2D", [network.source], target, "Pool2DOptions", **options)


@every_format
def test_max_pool_is_exact(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    check(network, network.finish(max_pool(network)), activations, step=1, tolerance=0)


@every_format
@pytest.mark.parametrize("keep", [True, False], ids=["[N, 1, 1, C]", "[N, C], reshaped"])
def test_mean_over_height_and_width(activations: ActivationFormat, keep: bool) -> None:
    network = Network(symmetric=activations.symmetric)
    mean = network.mean(network.source, scale=0.5, keep=keep)
    content = network.finish(mean if keep else network.reshaped(mean))
    check(network, content, activations, step=0.5, tolerance=1)


@every_format
@pytest.mark.parametrize("scales", [[0.01], [0.01, 0.02, 0.03]], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("bias", ["there", "of zeros", "left out"])
def test_a_fully_connected_layer(activations: ActivationFormat, scales: list[float], bias: str) -> None:
    network = Network(symmetric=activations.symmetric)
    inputs = [network.mean(network.source), network.constant(even((3, 4)), scale=scales)]
    if bias != "left out":
        inputs.append(network.constant([200, -100, 40], "int32", scale=scales) if bias == "there" else -1)
    logits = network.operator("FULLY_CONNECTED", inputs, network.activation((3,), 0.5), "FullyConnectedOptions")
    content = network.finish(network.reshaped(logits))
    # A step of the mean that it reads is up to 60 * 0.03 / 0.5 of its own.
    check(network, content, activations, step=0.5, tolerance=5)


@every_format
def test_softmax_is_float(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    content = network.finish(network.source, logits=network.mean(network.source, scale=0.25))
    images = network.images()
    expected, _ = run_tflite(content, images)
    probabilities, _ = run_onnx(lower_to_onnx(content, activations, 17, None), images)
    # A step of a logit is 0.25, of which a probability changes by a quarter at the most.
    assert np.abs(probabilities - expected).max() <= 0.25 / 4
    assert len(np.unique(expected)) > 3


@every_format
@pytest.mark.parametrize("activation", [NONE, RELU])
def test_a_sum_of_two_tensors(activations: ActivationFormat, activation: int) -> None:
    network = Network(symmetric=activations.symmetric)
    other = convolution(network, kind="DEPTHWISE_CONV_2D", padding=SAME)
    target = network.activation(network.shape[1:], 2.0)
    network.operator("ADD", [network.source, other], target, "AddOptions", fusedActivationFunction=activation)
    # A step of the convolution that it reads is two of its own.
    check(network, network.finish(target), activations, step=2, tolerance=3)


@every_format
def test_a_sum_of_a_float_tensor_and_one_value(activations: ActivationFormat) -> None:
    network = Network(symmetric=activations.symmetric)
    target = network.activation(network.shape[1:], 2.0)
    network.in_float("ADD", network.source, [network.constant(5.5, "float32")], target, "AddOptions")
    check(network, network.finish(target), activations, step=2, tolerance=1)


@every_format
@pytest.mark.parametrize("kind", ["MUL", "DIV"])
@pytest.mark.parametrize("images", [3, 1], ids=["reshaped", "broadcast as it is"])
def test_a_product_with_a_vector_per_image(activations: ActivationFormat, kind: str, images: int) -> None:
    network = Network(images=images, symmetric=activations.symmetric)
    mean = network.mean(network.source, scale=3.0)
    vector = network.dequantized(mean)
    offset = network.constant(1000.0, "float32")
    positive = network.operator("ADD", [vector, offset], network.floats((4,)), "AddOptions")
    factor = network.reshaped(positive) if images > 1 else positive
    inputs, target = [network.dequantized(network.source), factor], network.floats(network.shape[1:])
    network.operator(kind, inputs, target, f"{kind.capitalize()}Options")
    # The mean may be a step of 3 apart, of some 1,000 that are multiplied by up to 128 or divide it.
    step = 3 * 128 if kind == "MUL" else 3 * 128 / 900**2
    check(network, network.finish(target), activations, step=step, tolerance=1)
