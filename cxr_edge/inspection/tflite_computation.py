"""The computation of a TFLite file, from its graph."""

from __future__ import annotations

import math
from collections import Counter

from cxr_edge.artifacts.tflite_file import Operator, TFLiteFile
from cxr_edge.inspection.computation import Computation, MultiplyingOperator

_WITH_KERNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
#: uint8 is how TFLite quantized before int8.
_INTEGERS = ("int8", "uint8")


def computation_of_tflite(model: TFLiteFile) -> Computation:
    """Count the computation of a TFLite file: integer if input, kernel and output are all int8 or uint8."""
    constants = [(tensor.dtype, tensor.data) for tensor in model.tensors if tensor.data is not None]
    weight_bytes: Counter[str] = Counter()
    kernel_bytes: Counter[str] = Counter()
    for dtype, data in constants:
        weight_bytes[dtype] += data.nbytes
        if data.ndim > 1:
            kernel_bytes[dtype] += data.nbytes
    return Computation(
        multiplying=tuple(
            _multiplying(model, operator) for operator in model.operators if operator.kind in _WITH_KERNEL
        ),
        operators=dict(Counter(operator.kind for operator in model.operators).most_common()),
        weight_bytes=dict(weight_bytes),
        kernel_bytes=dict(kernel_bytes),
    )


def _multiplying(model: TFLiteFile, operator: Operator) -> MultiplyingOperator:
    source, kernel = (model.tensors[index] for index in operator.inputs[:2])
    target = model.tensors[operator.outputs[0]]
    # At each output position, all of the kernel is applied (depthwise, fully connected), or one slice per channel.
    places = math.prod(target.shape[1:3]) if len(target.shape) == 4 else 1
    return MultiplyingOperator(
        target.name.removesuffix("_float"),
        places * math.prod(kernel.shape),
        is_integer=all(tensor.dtype in _INTEGERS for tensor in (source, kernel, target)),
        is_convolution=operator.kind != "FULLY_CONNECTED",
    )
