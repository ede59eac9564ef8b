"""Biases that make up for the mean error of everything before them: of cut and rounded activations, too.

An int8 tensor's error seldom has a mean of 0: a range that cuts takes from one side only. Each layer's output is then
off by a constant per channel, which its bias can take back (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", 2019), one stage of the network after the other, as each correction changes what the
next stage sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.simulate import Tensors, fake_quantize, interpret, kernels_of
from cxr_edge.training.backend import tf

#: From a batch, uint8 `[N, S, S, 1]`, to the mean of each output channel of each layer with a bias.
Step = Callable[[Any], list[Any]]


def stages(graph: Graph) -> list[list[Node]]:
    """The nodes with a bias, in execution order, up to each residual sum, and the head's one by one."""
    groups: list[list[Node]] = [[]]
    for node in graph.nodes:
        if node.bias is not None:
            groups[-1].append(node)
        if node.kind in ("add", "dense", "mean"):
            groups.append([])
    return [group for group in groups if group]


def correct_biases(
    reference: Graph,
    quantized: QuantizedGraph,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Callable[[], None] | None = None,
) -> QuantizedGraph:
    """The int8 graph with biases that bring the mean of each layer's output channels to the float graph's.

    Args:
        reference: the float graph.
        quantized: the same in int8.
        images: the representative data set, uint8 `[N, S, S, 1]`.
        batch_size: images at a time.
        on_batch: called after each batch of each pass; there are one more passes than `stages`.
    """
    nodes = [node for node in quantized.graph.nodes if node.bias is not None]
    biases = {node.name: tf.Variable(node.bias) for node in nodes}

    def means(step: Step) -> dict[str, NDArray[np.float64]]:
        sums = [np.zeros_like(node.bias, dtype=np.float64) for node in nodes]
        for start in range(0, len(images), batch_size):
            batch = np.asarray(images[start : start + batch_size])
            for own, mean in zip(sums, step(batch), strict=True):
                own += mean.numpy() * len(batch)
            if on_batch:
                on_batch()
        return {node.name: own / len(images) for node, own in zip(nodes, sums, strict=True)}

    wanted = means(_float_means(reference, nodes))
    int8_means = _int8_means(quantized, nodes, biases)
    for stage in stages(quantized.graph):
        reached = means(int8_means)
        for node in stage:
            biases[node.name].assign_add((wanted[node.name] - reached[node.name]).astype(np.float32))
    corrected = tuple(
        node if node.bias is None else replace(node, bias=biases[node.name].numpy()) for node in quantized.graph.nodes
    )
    return QuantizedGraph(replace(quantized.graph, nodes=corrected), quantized.ranges)


def _float_means(graph: Graph, nodes: Sequence[Node]) -> Step:
    kernels = kernels_of(graph)

    @tf.function  # type: ignore[untyped-decorator]
    def means(batch: Any) -> list[Any]:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        return [_channel_means(tensors[node.name]) for node in nodes]

    return means  # type: ignore[no-any-return]


def _int8_means(quantized: QuantizedGraph, nodes: Sequence[Node], biases: Mapping[str, Any]) -> Step:
    """Before each node's own output is rounded; with the biases as they are at each call."""
    kernels = kernels_of(quantized.graph)

    @tf.function  # type: ignore[untyped-decorator]
    def means(batch: Any) -> list[Any]:
        values: Tensors = {}

        def activation(name: str, value: Any) -> Any:
            values[name] = value
            return fake_quantize(value, *quantized.ranges[name]) if name in quantized.ranges else value

        images = tf.cast(batch, tf.float32)
        interpret(quantized.graph, images, kernels, lambda node: biases[node.name], activation)
        return [_channel_means(values[node.name]) for node in nodes]

    return means  # type: ignore[no-any-return]


def _channel_means(value: Any) -> Any:
    return tf.reduce_mean(value, list(range(len(value.shape) - 1)))
