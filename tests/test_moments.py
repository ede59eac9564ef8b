"""Mean and covariance of a kernel's inputs, against those of the patches cut out one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Node
from cxr_edge.quantization.moments import moments_of


def some_values(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(3, 2, shape).astype(np.float32)


def moments(node: Node, value: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    (result,) = moments_of([node], [value])
    return result.mean(), result.covariance()


def patches(value: NDArray[np.float32], reach: int, stride: int, padding: str) -> NDArray[np.float64]:
    """`[places, window, C]`, by TensorFlow's rule of padding."""
    if padding == "same":
        size = value.shape[1]
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        ends = (total // 2, total - total // 2)
        value = np.pad(value, [(0, 0), ends, ends, (0, 0)])
    starts = range(0, value.shape[1] - reach + 1, stride)
    cut = [image[y : y + reach, x : x + reach] for image in value for y, x in itertools.product(starts, starts)]
    return np.stack(cut).reshape(len(cut), reach * reach, -1).astype(np.float64)


WINDOWS: Any = [
    (7, 3, 1, "same"),
    (7, 3, 2, "same"),
    (8, 3, 2, "same"),
    (7, 3, 1, "valid"),
    (8, 2, 2, "valid"),
    (1, 3, 1, "same"),
    (2, 5, 1, "same"),
]


@pytest.mark.parametrize(("size", "reach", "stride", "padding"), WINDOWS)
def test_moments_of_a_depthwise_kernel(size: int, reach: int, stride: int, padding: str) -> None:
    value = some_values(5, size, size, 4)
    node = Node("own", "depthwise", ("in",), (stride, stride), padding=padding, kernel=some_values(reach, reach, 4))
    mean, covariance = moments(node, value)
    cut = patches(value, reach, stride, padding)
    np.testing.assert_allclose(mean, cut.mean(axis=0).T, rtol=1e-12)
    for channel, actual in enumerate(covariance):
        np.testing.assert_allclose(actual, np.cov(cut[..., channel].T, bias=True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "reach", "stride", "padding"), [*WINDOWS, (7, 1, 1, "valid"), (7, 1, 2, "same")])
def test_moments_of_a_convolution(size: int, reach: int, stride: int, padding: str) -> None:
    value = some_values(5, size, size, 2)
    node = Node("own", "conv", ("in",), (stride, stride), padding=padding, kernel=some_values(reach, reach, 2, 3))
    mean, covariance = moments(node, value)
    cut = patches(value, reach, stride, padding).reshape(-1, reach * reach * 2)
    np.testing.assert_allclose(mean, cut.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(cut.T, bias=True), rtol=1e-9, atol=1e-9)


def test_moments_of_a_dense_kernel_over_two_batches() -> None:
    value, node = some_values(20, 6), Node("own", "dense", ("in",), kernel=some_values(6, 3))
    (first,), (second,) = (moments_of([node], [own]) for own in (value[:12], value[12:]))
    np.testing.assert_allclose((first + second).mean(), value.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose((first + second).covariance(), np.cov(value.astype(np.float64).T, bias=True), rtol=1e-9)
