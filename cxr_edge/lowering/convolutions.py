"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

from cxr_edge.artifacts.tflite_file import Operator
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation
from cxr_edge.lowering.weights import add_bias, add_kernel
from cxr_edge.lowering.windows import pads_of, strides_of


def lower_convolution(translation: Translation, operator: Operator) -> None:
    """CONV_2D: TFLite's kernel is `[O, H, W, I]`; ONNX wants `[O, I, H, W]`."""
    _lower(translation, operator, (0, 3, 1, 2), groups=1)


def lower_depthwise_convolution(translation: Translation, operator: Operator) -> None:
    """DEPTHWISE_CONV_2D: TFLite's kernel is `[1, H, W, O]`; ONNX wants `[O, 1, H, W]`, a group per input channel."""
    _lower(translation, operator, (3, 0, 1, 2), groups=translation.tensor(operator.inputs[0]).shape[3])


def _inputs_of(operator: Operator) -> tuple[int, int, int]:
    """Source, kernel and bias; -1 for no bias, which TFLite marks by the same number or by a missing third input."""
    source, kernel, *bias = operator.inputs
    return source, kernel, bias[0] if bias else -1


def _lower(translation: Translation, operator: Operator, kernel_axes: tuple[int, ...], groups: int) -> None:
    source, kernel, bias = _inputs_of(operator)
    (target,) = operator.outputs
    if (operator.options.dilationHFactor, operator.options.dilationWFactor) != (1, 1):
        raise ArtifactError(f"{translation.layer(target)}: a {operator.kind} with dilation has no lowering")
    _, height, width, _ = translation.tensor(source).shape
    _, *window, _ = translation.tensor(kernel).shape
    pads = pads_of(operator, (height, width), (window[0], window[1]))
    strides = strides_of(operator)
    integers = not translation.is_float(source) and not translation.activations.symmetric
    if window == [1, 1] and strides != [1, 1] and integers:
        # Select the rows and columns that are read while they are integers. OpenVINO does so itself, but between the
        # parts of DequantizeLinear, and then computes the convolution in float.
        picked = translation.builder.node(
            "MaxPool", [translation.values[source]], f"t{target}_picked", kernel_shape=[1, 1], strides=strides
        )
        value, strides = translation.dequantized(source, picked), [1, 1]
    else:
        value = translation.dequantized(source)
    value = translation.builder.node(
        "Conv",
        [value, add_kernel(translation, kernel, kernel_axes), *add_bias(translation, bias)],
        f"t{target}_float",
        name=translation.layer(target),
        kernel_shape=window,
        strides=strides,
        pads=pads,
        group=groups,
    )
    translation.finish(value, target, operator.options.fusedActivationFunction)


def lower_fully_connected(translation: Translation, operator: Operator) -> None:
    """FULLY_CONNECTED: both formats store the kernel as `[O, I]`."""
    source, kernel, bias = _inputs_of(operator)
    (target,) = operator.outputs
    weight = add_kernel(translation, kernel)
    inputs = [translation.dequantized(source), weight, *add_bias(translation, bias)]
    value = translation.builder.node("Gemm", inputs, f"t{target}_float", name=translation.layer(target), transB=1)
    translation.finish(value, target, operator.options.fusedActivationFunction)
