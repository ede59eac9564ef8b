"""Rounds every kernel of a graph by what its inputs are on a representative data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.kernels import nearest, round_kernel
from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges
from cxr_edge.quantization.simulate import fake_quantize, images_of, interpret, kernels_of
from cxr_edge.training.backend import tf

#: Of the representative data set, the first images serve: rounding needs no tails.
ROUNDING_IMAGES = 256


@dataclass
class _Moments:
    """Sums over the places of a node's inputs: of products, of values, and their number."""

    products: NDArray[np.float64] | float = 0.0
    values: NDArray[np.float64] | float = 0.0
    places: float = 0.0

    def mean(self) -> NDArray[np.float64]:
        """Of each input of an output channel: `[I]`; for depthwise `[C, H * W]`."""
        return np.asarray(self.values / self.places)

    def covariance(self) -> NDArray[np.float64]:
        """`[I, I]`; for depthwise `[C, H * W, H * W]`."""
        mean = self.mean()
        return np.asarray(self.products / self.places - mean[..., :, None] * mean[..., None, :])


def round_kernels(
    graph: Graph,
    ranges: Ranges,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Callable[[], None] | None = None,
) -> QuantizedGraph:
    """The graph with its kernels on their grids, and biases that make up for the mean of what rounding changes.

    Args:
        graph: in float.
        ranges: of its quantized tensors.
        images: the representative data set, uint8 `[N, S, S, 1]`.
        batch_size: images at a time.
        on_batch: called after each batch.
    """
    moments = _input_moments(graph, ranges, images, batch_size, on_batch)

    def rounded(node: Node) -> Node:
        if node.name not in moments:
            return node
        assert node.kernel is not None
        kernel, mean = round_kernel(node, moments[node.name].covariance()), moments[node.name].mean()
        lost = (node.kernel - kernel).reshape(-1, kernel.shape[-1])
        change = (mean.T * lost).sum(axis=0) if node.kind == "depthwise" else mean @ lost
        return replace(
            node, kernel=kernel, bias=np.asarray((0 if node.bias is None else node.bias) + change, np.float32)
        )

    return QuantizedGraph(replace(graph, nodes=tuple(rounded(node) for node in graph.nodes)), ranges)


def _input_moments(
    graph: Graph,
    ranges: Ranges,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Callable[[], None] | None,
) -> dict[str, _Moments]:
    """Of the inputs of each node with an int8 kernel, as the int8 graph has them with kernels rounded to nearest."""
    nodes = [node for node in graph.nodes if node.kernel is not None and not node.in_float]
    rounded = replace(
        graph, nodes=tuple(replace(node, kernel=nearest(node)) if node in nodes else node for node in graph.nodes)
    )
    kernels = kernels_of(rounded)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        tensors = interpret(
            graph,
            tf.cast(batch, tf.float32),
            kernels,
            activation=lambda name, value: fake_quantize(value, *ranges[name]) if name in ranges else value,
        )
        return [_sums(node, tensors[node.inputs[0]]) for node in nodes]

    moments = {node.name: _Moments() for node in nodes}
    for start in range(0, len(images), batch_size):
        for own, (products, values, places) in zip(
            moments.values(), step(np.asarray(images[start : start + batch_size])), strict=True
        ):
            own.products = own.products + products.numpy()
            own.values = own.values + values.numpy()
            own.places += float(places)
        if on_batch:
            on_batch()
    return moments


def _sums(node: Node, value: Any) -> tuple[Any, Any, Any]:
    """Sums of products `[.., I, I]` and of values `[.., I]` over all places, and their number."""
    assert node.kernel is not None
    if node.kind == "dense":
        rows = value
    else:
        height, width = node.kernel.shape[:2]
        channels = value.shape[-1]
        rows = tf.image.extract_patches(
            value, [1, height, width, 1], [1, *node.strides, 1], [1, 1, 1, 1], node.padding.upper()
        )
        if node.kind == "depthwise":
            rows = tf.transpose(tf.reshape(rows, [-1, height * width, channels]), [2, 0, 1])
        else:
            rows = tf.reshape(rows, [-1, height * width * channels])
    # In float32, sums over a hundred thousand places are off by more than the smallest variances.
    rows = tf.cast(rows, tf.float64)
    return tf.matmul(rows, rows, transpose_a=True), tf.reduce_sum(rows, axis=-2), tf.shape(rows)[-2]
