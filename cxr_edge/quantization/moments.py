"""Mean and covariance of each kernel's inputs.

Summed in float64: in float32, sums over a hundred thousand positions are off by more than the smallest variances.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Node
from cxr_edge.quantization.parallel import on_all_cores

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums of products and of values over the positions where a kernel is applied, and the number of positions."""

    products: Array
    values: Array
    places: int

    def mean(self) -> Array:
        """The mean of each input of an output channel: `[I]`; for depthwise `[C, H * W]`."""
        return np.asarray(self.values / self.places)

    def covariance(self) -> Array:
        """`[I, I]`; for depthwise `[C, H * W, H * W]`."""
        mean = self.mean()
        return np.asarray(self.products / self.places - mean[..., :, None] * mean[..., None, :])

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.products + other.products, self.values + other.values, self.places + other.places)


def moments_of(nodes: Sequence[Node], inputs: Sequence[NDArray[np.float32]]) -> list[Moments]:
    """The moments of each node's input `[N, H, W, C]`, or `[N, I]` for dense."""
    return on_all_cores(_moments, nodes, inputs)


def _moments(node: Node, value: NDArray[np.float32]) -> Moments:
    assert node.kernel is not None
    if node.kind == "dense":
        return _of_rows(value)
    window = node.kernel.shape[:2]
    if node.kind == "conv" and window == (1, 1):
        return _of_rows(value[:, :: node.strides[0], :: node.strides[1]].reshape(-1, value.shape[-1]))
    padding = [_padding(*sizes, node.padding) for sizes in zip(value.shape[1:3], window, node.strides, strict=True)]
    of_windows = _of_depthwise if node.kind == "depthwise" else _of_convolution
    return of_windows(value.astype(np.float64), window, node.strides, padding)


def _of_rows(rows: NDArray[np.float32]) -> Moments:
    wide = rows.astype(np.float64)
    return Moments(wide.T @ wide, wide.sum(axis=0), len(wide))


def _of_convolution(
    value: Array, window: tuple[int, int], strides: tuple[int, int], padding: Sequence[tuple[int, int]]
) -> Moments:
    """Multiply the window's columns row by row: patches would repeat each pixel in every window that contains it."""
    pixels = np.ascontiguousarray(np.pad(value, [(0, 0), *padding, (0, 0)]).transpose(1, 2, 0, 3))
    height, width, count, channels = pixels.shape
    rows, columns = (
        (size - reach) // stride + 1 for size, reach, stride in zip((height, width), window, strides, strict=True)
    )

    def over(first: int, of_rows: Array) -> Array:
        """The sum over the rows of pixels that lie under a row of the window."""
        return np.asarray(of_rows[first :: strides[0]][:rows].sum(axis=0))

    # What lies under each column of the window, in each row of pixels: [H, columns * N, C].
    strips = [pixels[:, first :: strides[1]][:, :columns].reshape(height, -1, channels) for first in range(window[1])]
    products = np.empty((*window, channels, *window, channels))
    for column, other_column in itertools.combinations_with_replacement(range(window[1]), 2):
        for down in range(1 - window[0], window[0]):
            start, stop = max(-down, 0), height - max(down, 0)
            multiplied = (
                strips[column][start:stop].transpose(0, 2, 1) @ strips[other_column][start + down : stop + down]
            )
            for row in range(start, window[0] - max(down, 0)):
                product = over(row - start, multiplied)
                products[row, column, :, row + down, other_column] = product
                products[row + down, other_column, :, row, column] = product.T
    sums = [strip.sum(axis=1) for strip in strips]
    values = np.stack([over(row, strip_sum) for row in range(window[0]) for strip_sum in sums])
    inputs = values.size
    return Moments(products.reshape(inputs, inputs), values.reshape(inputs), count * rows * columns)


def _of_depthwise(
    value: Array, window: tuple[int, int], strides: tuple[int, int], padding: Sequence[tuple[int, int]]
) -> Moments:
    """Products are computed once per offset between two places in the window, wherever the window is."""
    count, height, width, channels = value.shape
    (top, bottom), (left, right) = padding
    places = list(np.ndindex(window))
    rows, columns = (
        (size + sum(pads) - reach) // stride + 1
        for size, pads, reach, stride in zip((height, width), padding, window, strides, strict=True)
    )

    def under(place: tuple[int, int], of_pixels: Array) -> Array:
        """The sum over the pixels that lie under a place of the window, `[C]`."""
        row, column = place
        return np.asarray(of_pixels[row :: strides[0], column :: strides[1]][:rows, :columns].sum(axis=(0, 1)))

    def multiplied(down: int, across: int) -> Array:
        """The product of each pixel, padding included, with the one at an offset: `[H, W, C]`, summed over images."""
        tall, wide = max(height - down, 0), max(width - abs(across), 0)
        first, second = max(-across, 0), max(across, 0)
        sums = np.zeros((height + top + bottom, width + left + right, channels))
        sums[top : top + tall, left + first : left + first + wide] = np.einsum(
            "nhwc,nhwc->hwc",
            value[:, :tall, first : first + wide],
            value[:, down : down + tall, second : second + wide],
        )
        return sums

    pixels = np.pad(value.sum(axis=0), [*padding, (0, 0)])
    products = np.empty((channels, len(places), len(places)))
    by_offset: dict[tuple[int, int], Array] = {}
    for index, place in enumerate(places):
        for other_index, other in enumerate(places[index:], index):
            offset = (other[0] - place[0], other[1] - place[1])
            if offset not in by_offset:
                by_offset[offset] = multiplied(*offset)
            products[:, index, other_index] = products[:, other_index, index] = under(place, by_offset[offset])
    values = np.stack([under(place, pixels) for place in places], axis=1)
    return Moments(products, values, count * rows * columns)


def _padding(size: int, reach: int, stride: int, kind: str) -> tuple[int, int]:
    """Pixels of zero before and after, as TensorFlow adds them."""
    if kind == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2
