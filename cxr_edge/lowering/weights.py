"""Kernels and biases, with the TFLite file's integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.tflite_file import Tensor
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation


def add_kernel(translation: Translation, index: int, axes: tuple[int, ...] | None = None) -> str:
    """Add a kernel's constants; returns the name of its float value.

    Args:
        translation: to add them to.
        index: index of the kernel among the TFLite file's tensors: int8 with one scale or one per channel, or float.
        axes: ONNX's order of its axes, output channels first; None to keep the order.

    Raises:
        ArtifactError: it has another type, is not constant, has no scale, or has nonzero zero points.
    """
    tensor = translation.tensor(index)
    if tensor.data is not None and tensor.is_float:
        return translation.builder.constant(f"t{index}", _ordered(tensor.data, axes))
    if tensor.data is None or tensor.dtype != "int8" or not len(tensor.scales) or np.any(tensor.zero_points):
        raise ArtifactError(f"tensor {tensor.name}: not a symmetric int8 kernel")
    scales = _scales(tensor)
    inputs = [
        translation.builder.constant(f"t{index}", _ordered(tensor.data, axes)),
        translation.builder.constant(f"t{index}_scale", scales),
        translation.builder.constant(f"t{index}_zero_point", np.zeros_like(scales, dtype=np.int8)),
    ]
    return translation.builder.node("DequantizeLinear", inputs, f"t{index}_dequantized", **_channel_axis(tensor))


def add_bias(translation: Translation, index: int) -> list[str]:
    """Add a bias; returns the name of its float value, or nothing for index -1: the converter omits a bias of zeros.

    Raises:
        ArtifactError: it is neither int32 with scales nor float, or is not constant.
    """
    if index < 0:
        return []
    tensor = translation.tensor(index)
    if tensor.data is not None and tensor.is_float:
        return [translation.builder.constant(f"t{index}", tensor.data)]
    if tensor.data is None or tensor.dtype != "int32" or not len(tensor.scales):
        raise ArtifactError(f"tensor {tensor.name}: not an int32 bias")
    if translation.activations.symmetric:
        # TensorRT does not support int32 DequantizeLinear; it rounds the bias itself.
        return [translation.builder.constant(f"t{index}", (tensor.data * _scales(tensor)).astype(np.float32))]
    inputs = [
        translation.builder.constant(f"t{index}", tensor.data),
        translation.builder.constant(f"t{index}_scale", _scales(tensor)),
    ]
    return [translation.builder.node("DequantizeLinear", inputs, f"t{index}_dequantized", **_channel_axis(tensor))]


def _ordered(kernel: NDArray[Any], axes: tuple[int, ...] | None) -> NDArray[Any]:
    return np.ascontiguousarray(kernel if axes is None else kernel.transpose(axes))


def _scales(tensor: Tensor) -> Any:
    """One scale for each channel, or a scalar."""
    return tensor.scales if len(tensor.scales) > 1 else tensor.scales[0]


def _channel_axis(tensor: Tensor) -> dict[str, Any]:
    # A node's attributes may be of any type.
    return {"axis": 0} if len(tensor.scales) > 1 else {}
