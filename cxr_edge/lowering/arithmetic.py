"""ADD, MUL and DIV, and the RESHAPE that makes them fit."""

from __future__ import annotations

import numpy as np

from cxr_edge.artifacts.tflite_file import Operator
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation


def lower_add(translation: Translation, operator: Operator) -> None:
    """ADD of two tensors, or of a tensor and a scalar float constant."""
    (target,) = operator.outputs
    inputs = [
        translation.dequantized(index) if translation.tensor(index).data is None else _scalar(translation, index)
        for index in operator.inputs
    ]
    total = translation.builder.node("Add", inputs, f"t{target}_float", name=translation.layer(target))
    translation.finish(total, target, operator.options.fusedActivationFunction)


def _scalar(translation: Translation, index: int) -> str:
    tensor = translation.tensor(index)
    if tensor.data is None or tensor.data.size != 1 or not tensor.is_float:
        raise ArtifactError(f"tensor {tensor.name}: a constant of several values, or of integers, has no lowering")
    return translation.builder.constant(f"t{index}", tensor.data.reshape(()))


def lower_product(translation: Translation, operator: Operator) -> None:
    """MUL or DIV of float tensors, one of which may be a vector per image."""
    (target,) = operator.outputs
    if not all(translation.is_float(index) for index in (*operator.inputs, target)):
        raise ArtifactError(f"{translation.layer(target)}: a {operator.kind} of integers has no lowering")
    # With a fixed N, the converter omits the reshape that TFLite does not need for broadcasting.
    image = len(translation.tensor(target).shape) == 4
    inputs = [
        _one_place(translation, index, target)
        if image and len(translation.tensor(index).shape) == 2
        else translation.values[index]
        for index in operator.inputs
    ]
    op_type = operator.kind.capitalize()
    value = translation.builder.node(op_type, inputs, f"t{target}_float", name=translation.layer(target))
    translation.finish(value, target, operator.options.fusedActivationFunction)


def lower_reshape(translation: Translation, operator: Operator) -> None:
    """RESHAPE from `[N, C]` to `[N, 1, 1, C]`."""
    source, (target,) = operator.inputs[0], operator.outputs
    *places, channels = translation.tensor(target).shape[1:]
    if translation.tensor(source).shape[1:] != (channels,) or set(places) != {1}:
        raise ArtifactError(f"{translation.layer(target)}: a RESHAPE of anything but a vector has no lowering")
    translation.values[target] = _one_place(translation, source, target)


def _one_place(translation: Translation, source: int, target: int) -> str:
    """A vector per image, reshaped to an image of one pixel with channels first."""
    channels = translation.tensor(source).shape[-1]
    shape = translation.builder.constant(f"t{source}_one_place", np.array([0, channels, 1, 1], dtype=np.int64))
    return translation.builder.node("Reshape", [translation.values[source], shape], f"t{target}_one_place")
