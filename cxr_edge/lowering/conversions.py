"""QUANTIZE and DEQUANTIZE: for the image's integers, and to and from float layers."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from cxr_edge.artifacts.tflite_file import Operator
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation

#: Scale and zero point of an int8 tensor whose integers are grey values minus 128.
_GREY_VALUES = (1.0, -128)
_COMPUTE_IN_FLOAT = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"}


def lower_quantize(translation: Translation, operator: Operator) -> None:
    """QUANTIZE of the image, or of a float layer's output."""
    (source,), (target,) = operator.inputs, operator.outputs
    if translation.is_float(source):
        translation.quantize(translation.values[source], target)
        return
    if translation.tensor(source).dtype != "uint8" or translation.tensor(target).quantization != _GREY_VALUES:
        raise ArtifactError(
            f"{translation.layer(target)}: a QUANTIZE that is not the image's; int8 artifacts take grey values as they "
            "are"
        )
    # Only N and the grid order change: one channel has the same memory layout in NHWC and NCHW.
    builder = translation.builder
    _, height, width, _ = translation.tensor(source).shape
    shape = builder.constant("image_shape", np.array([0, 1, height, width], dtype=np.int64))
    image = translation.values[source]
    if translation.activations.symmetric:
        # TensorRT takes uint8 only to convert it, before anything else.
        image = builder.node("Cast", [image], "image_float", to=TensorProto.FLOAT)
    value = builder.node("Reshape", [image, shape], "image_nchw")
    translation.image = target
    if translation.activations.holds_image:
        translation.values[target] = value
        return
    scale = builder.constant("image_scale", np.float32(1))
    zero_point = builder.constant("image_zero_point", np.uint8(0))
    grey = builder.node("DequantizeLinear", [value, scale, zero_point], "image_dequantized")
    translation.quantize(grey, target)


def lower_dequantize(translation: Translation, operator: Operator) -> None:
    """DEQUANTIZE for the softmax, and for layers left in float."""
    (source,), (target,) = operator.inputs, operator.outputs
    readers = {reader.kind for reader in translation.model.operators if target in reader.inputs}
    if not readers & _COMPUTE_IN_FLOAT:
        translation.values[target] = translation.dequantized(source)
        return
    # Spelled out for a layer left in float: on loading, ONNX Runtime quantizes the float kernel of a convolution
    # between DequantizeLinear and QuantizeLinear, with one scale for all channels.
    builder, integers = translation.builder, translation.values[source]
    if source == translation.image and translation.activations.symmetric:
        translation.values[target] = translation.values[source]
        return
    if source == translation.image and translation.activations.holds_image:
        translation.values[target] = builder.node("Cast", [integers], f"t{target}_float", to=TensorProto.FLOAT)
        return
    scale, zero_point = translation.tensor(source).quantization
    value = builder.node("Cast", [integers], f"t{target}_integer", to=TensorProto.FLOAT)
    if origin := zero_point + translation.activations.offset:
        origin_name = builder.constant(f"t{target}_zero_point", np.float32(origin))
        value = builder.node("Sub", [value, origin_name], f"t{target}_centred")
    scale_name = builder.constant(f"t{target}_scale", np.float32(scale))
    translation.values[target] = builder.node("Mul", [value, scale_name], f"t{target}_float")
