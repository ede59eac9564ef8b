"""Kernels within -64..64, and biases that compensate for the shift of the sums by rounding them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.tflite_file import Tensor, TFLiteFile
from cxr_edge.processors import usable_cores

_WITH_KERNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def input_means(content: bytes, model: TFLiteFile, images: NDArray[np.uint8]) -> dict[int, NDArray[np.float64]]:
    """The mean of each int8 tensor that a kernel reads, over images and positions.

    Args:
        content: a full-integer TFLite file.
        model: the same, parsed.
        images: from the representative data set, uint8 `[N, S, S, 1]`, at least as many as the file takes at once.

    Returns:
        Means of the integers minus the zero point, float64 `[C]`, by tensor index.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # A delegate keeps no tensors between operators; the built-in kernels compute the same integers on every machine.
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=usable_cores(),
    )
    interpreter.allocate_tensors()
    (image,) = model.inputs
    read = {operator.inputs[0] for operator in model.operators if operator.kind in _WITH_KERNEL}
    indices = [index for index in sorted(read) if model.tensors[index].dtype == "int8"]
    means: dict[int, NDArray[np.float64]] = {}
    batch = max(model.tensors[image].shape[0], 1)
    batches = [images[start : start + batch] for start in range(0, len(images) - batch + 1, batch)]
    for pixels in batches:
        interpreter.set_tensor(image, pixels)
        interpreter.invoke()
        for index in indices:
            values = interpreter.get_tensor(index).astype(np.float64) - model.tensors[index].quantization[1]
            mean = values.reshape(-1, values.shape[-1]).mean(axis=0) / len(batches)
            means[index] = means[index] + mean if index in means else mean
    return means


def in_reduced_range(model: TFLiteFile, means: Mapping[int, NDArray[np.float64]]) -> TFLiteFile:
    """The model with each int8 kernel halved, its scales doubled, and the bias in the same steps.

    Half of the integers are odd, and rounding their halves shifts each filter's sum by the rounding errors times the
    input means. The bias compensates for that (empirical bias correction, https://arxiv.org/abs/1906.04721).

    Args:
        model: a full-integer TFLite file.
        means: see `input_means`; if an input has none, the bias is only halved.
    """
    tensors, operators = list(model.tensors), []
    halved_biases: set[int] = set()
    for operator in model.operators:
        kernel = model.tensors[operator.inputs[1]] if operator.kind in _WITH_KERNEL else None
        if kernel is None or kernel.dtype != "int8" or kernel.data is None:
            operators.append(operator)
            continue
        source, index, *named = operator.inputs
        halved = np.round(kernel.data / 2)
        tensors[index] = replace(kernel, data=halved.astype(np.int8), scales=kernel.scales * np.float32(2))
        shift = np.zeros(1) if source not in means else _shift(operator.kind, kernel.data / 2 - halved, means[source])
        bias = named[0] if named else -1
        if bias < 0:
            # A bias of zeros, which the converter omitted.
            operators.append(operator)
            continue
        original = model.tensors[bias]
        if bias in halved_biases:
            # Operators no longer share a bias: each has its own correction.
            bias = len(tensors)
            tensors.append(original)
        halved_biases.add(bias)
        tensors[bias] = _halved_bias(original, shift)
        operators.append(replace(operator, inputs=(source, index, bias)))
    return replace(model, tensors=tuple(tensors), operators=tuple(operators))


def _shift(kind: str, errors: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """The decrease of each filter's sum due to rounding, in the accumulator's new steps; float64 `[O]`."""
    if kind == "DEPTHWISE_CONV_2D":
        filters = errors.sum(axis=(0, 1, 2))
        return np.asarray(filters * np.repeat(means, len(filters) // len(means)))
    return np.asarray((errors * means).reshape(len(errors), -1).sum(axis=1))


def _halved_bias(bias: Tensor, shift: NDArray[np.float64]) -> Tensor:
    if bias.is_float or bias.data is None:
        return bias
    return replace(bias, data=np.round(bias.data / 2 + shift).astype(np.int32), scales=bias.scales * np.float32(2))
