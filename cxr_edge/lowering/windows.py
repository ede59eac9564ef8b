"""Sliding windows over an image, as TFLite and ONNX describe them."""

from __future__ import annotations

from ai_edge_litert.schema_py_generated import Padding

from cxr_edge.artifacts.tflite_file import Operator


def strides_of(operator: Operator) -> list[int]:
    """Strides along height and width."""
    return [operator.options.strideH, operator.options.strideW]


def pads_of(operator: Operator, image: tuple[int, int], window: tuple[int, int]) -> list[int]:
    """ONNX' explicit pads (top, left, bottom, right) of a TFLite operator, which puts an odd pixel at the end.

    Args:
        operator: a convolution or a pooling.
        image: height and width of its input.
        window: height and width of its window.
    """
    if operator.options.padding == Padding.VALID:
        return [0, 0, 0, 0]
    begins, ends = [], []
    for size, extent, stride in zip(image, window, strides_of(operator), strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins + ends
