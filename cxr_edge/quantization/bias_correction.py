"""Biases that make up for the mean error of everything before them: of clipped and rounded activations, too.

An int8 tensor's error seldom has a mean of 0: a range that clips takes from one side only. Each layer's output is then
off by a constant per channel, which its bias can take back (Nagel et al., "Data-Free Quantization Through Weight
Equalization and Bias Correction", 2019). Layers are corrected in the order in which they are computed, each with what
comes to it from those that are corrected already: what one has made up for, the next does not make up for again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.simulate import fake_quantize, interpret, kernels_of, linear
from cxr_edge.training.backend import tf


def correct_biases(reference: Graph, quantized: QuantizedGraph, images: NDArray[np.uint8]) -> QuantizedGraph:
    """The int8 graph with biases that bring the mean of each layer's output channels to the float graph's.

    Args:
        reference: the float graph.
        quantized: the same in int8.
        images: uint8 `[N, S, S, 1]`, computed all at once.
    """
    names = [node.name for node in reference.nodes if node.bias is not None]
    kernels, rounded = kernels_of(reference), kernels_of(quantized.graph)

    @tf.function  # type: ignore[untyped-decorator]
    def wanted(batch: Any) -> list[Any]:
        tensors = interpret(reference, tf.cast(batch, tf.float32), kernels)
        return [_channel_means(tensors[name]) for name in names]

    @tf.function  # type: ignore[untyped-decorator]
    def corrected(batch: Any, means: list[Any]) -> list[Any]:
        targets, biases = dict(zip(names, means, strict=True)), {}

        def layer(node: Node, value: Any, kernel: Any) -> Any:
            value = linear(node, value, kernel)
            if node.name in targets:
                biases[node.name] = targets[node.name] - _channel_means(value)
            return value

        def activation(name: str, value: Any) -> Any:
            return fake_quantize(value, *quantized.ranges[name]) if name in quantized.ranges else value

        pixels = tf.cast(batch, tf.float32)
        interpret(quantized.graph, pixels, rounded, lambda node: biases[node.name], activation, layer)
        return [biases[name] for name in names]

    biases = dict(zip(names, corrected(images, wanted(images)), strict=True))
    nodes = tuple(
        node if node.bias is None else replace(node, bias=biases[node.name].numpy()) for node in quantized.graph.nodes
    )
    return QuantizedGraph(replace(quantized.graph, nodes=nodes), quantized.ranges)


def _channel_means(value: Any) -> Any:
    return tf.reduce_mean(value, list(range(len(value.shape) - 1)))
