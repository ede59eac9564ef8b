"""Rounds every kernel of a graph according to its inputs on a representative data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.console import quiet
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.kernels import nearest, round_kernel
from cxr_edge.quantization.moments import Moments, moments_of
from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges
from cxr_edge.quantization.simulate import images_of, interpret, kernels_of, on_grid
from cxr_edge.training.backend import tf

#: How many images of the representative data set are used: rounding needs no tails.
ROUNDING_IMAGES = 256


def round_kernels(
    graph: Graph,
    ranges: Ranges,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Callable[[], None] | None = None,
) -> QuantizedGraph:
    """The graph with its kernels on their grids, and biases that compensate for the mean error from rounding them.

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

    return QuantizedGraph(graph.changed(rounded), ranges)


def _input_moments(
    graph: Graph,
    ranges: Ranges,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Callable[[], None] | None,
) -> dict[str, Moments]:
    """Moments of the inputs of each node with an int8 kernel, in the int8 graph with kernels rounded to nearest."""
    nodes = [node for node in graph.nodes if _has_grid(node)]
    kernels = kernels_of(graph.changed(lambda node: replace(node, kernel=nearest(node)) if _has_grid(node) else node))

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> list[tf.Tensor]:
        tensors = interpret(
            graph,
            tf.cast(batch, tf.float32),
            kernels,
            activation=lambda name, value: on_grid(value, *ranges[name]) if name in ranges else value,
        )
        return [tensors[node.inputs[0]] for node in nodes]

    moments: list[Moments] = []
    for start in range(0, len(images), batch_size):
        # On the first call, TensorFlow's graph optimizer warns about the many outputs, and leaves the graph as it is.
        with quiet():
            inputs = step(np.asarray(images[start : start + batch_size]))
        of_batch = moments_of(nodes, [np.asarray(value) for value in inputs])
        moments = [total + batch for total, batch in zip(moments, of_batch, strict=True)] if moments else of_batch
        if on_batch:
            on_batch()
    return {node.name: total for node, total in zip(nodes, moments, strict=True)}


def _has_grid(node: Node) -> bool:
    return node.kernel is not None and not node.in_float
