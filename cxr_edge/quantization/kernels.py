"""int8 kernels: the grid of each output channel, and which of its points a weight is rounded to.

Rounding each weight to the nearest point is not optimal for the layer's output: errors of weights with correlated
inputs can cancel. `round_kernel` rounds one input channel after another and adjusts the remaining ones to compensate
for the error (Frantar et al., "GPTQ", 2023, after Hassibi and Stork's optimal brain surgeon). It costs nothing at
inference.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Node

#: Kernels are symmetric: -127..127.
LARGEST = 127
#: Added to the diagonal of the inputs' covariance, as a share of its mean: keeps it invertible where inputs are fewer
#: than channels or always 0.
DAMPING = 0.01
#: Columns whose effect on the others is gathered into one matrix product.
_BLOCK = 64


def kernel_step(node: Node) -> NDArray[np.float32]:
    """Step of each output channel's grid, broadcastable to the kernel; one for all where the node is per-tensor."""
    assert node.kernel is not None
    others = None if node.per_tensor else tuple(range(node.kernel.ndim - 1))
    return np.asarray(
        np.maximum(np.abs(node.kernel).max(axis=others, keepdims=True), 1e-12) / np.float32(LARGEST), dtype=np.float32
    )


def nearest(node: Node) -> NDArray[np.float32]:
    """A node's kernel with each weight at the nearest point of its grid."""
    assert node.kernel is not None
    step = kernel_step(node)
    return np.asarray(np.round(node.kernel / step) * step, dtype=np.float32)


def round_kernel(node: Node, covariance: NDArray[np.float64]) -> NDArray[np.float32]:
    """A node's kernel rounded to its grid so that the node's output stays close to the float one's.

    Args:
        node: conv, with a window of one pixel, dense, or depthwise.
        covariance: of the inputs that one output channel sees: `[I, I]`, and for depthwise `[C, H * W, H * W]`.

    Returns:
        float32, as the kernel. The largest weight of each channel stays at 127 steps, so that the grid can be told
        from the kernel alone.
    """
    assert node.kernel is not None
    step = np.broadcast_to(kernel_step(node), node.kernel.shape)
    # In units of the grid, [output channels, weights]. Output channels that see the same inputs are a group.
    weights = (node.kernel / step).reshape(-1, node.kernel.shape[-1]).T.astype(np.float64)
    if node.kind == "depthwise":
        points = _rounded(weights[:, None], covariance)[:, 0]
    else:
        points = _rounded(weights[None], covariance[None])[0]
    return np.asarray(points.T.reshape(node.kernel.shape) * step, dtype=np.float32)


def _rounded(weights: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Groups of weights `[G, O, I]` rounded to integers, one input after another, the largest variance first.

    The covariance is that of each group's inputs, `[G, I, I]`.
    """
    groups, outputs, count = weights.shape
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    matrix = covariance[np.arange(groups)[:, None, None], order[:, :, None], order[:, None, :]]
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    damping = DAMPING * np.maximum(diagonal.mean(axis=1, keepdims=True), 1e-12)
    matrix[:, np.arange(count), np.arange(count)] = diagonal + damping
    # Each column of this factor says how later inputs compensate for an error in one input.
    lower = np.linalg.cholesky(np.linalg.inv(matrix))
    # [G, I, O]: the weights of one input, which are processed together, are contiguous in memory.
    remaining = np.take_along_axis(weights.transpose(0, 2, 1), order[:, :, None], axis=1)
    # The largest weights: they are integers already, and stay.
    fixed = np.abs(remaining) >= LARGEST - 1e-3
    points = np.where(fixed, np.sign(remaining) * LARGEST, 0.0)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        errors = np.empty((groups, stop - start, outputs))
        for row in range(start, stop):
            value = np.clip(np.round(remaining[:, row]), -LARGEST, LARGEST)
            value = np.where(fixed[:, row], points[:, row], value)
            points[:, row] = value
            error = (remaining[:, row] - value) / lower[:, row, row, None]
            remaining[:, row + 1 : stop] -= error[:, None] * lower[:, row + 1 : stop, row, None]
            errors[:, row - start] = error
        remaining[:, stop:] -= lower[:, stop:, start:stop] @ errors
    result = np.empty_like(points)
    np.put_along_axis(result, order[:, :, None], points, axis=1)
    return result.transpose(0, 2, 1)
