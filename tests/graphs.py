"""A deployment graph of a few nodes with every kind in it, and what to feed it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import QuantizedGraph

SIZE = 17
LABELS = 3


def small_graph(seed: int = 0, spread: float = 1.0) -> Graph:
    """Stem, a separable convolution with a shortcut, head: 17 px, three classes.

    Args:
        seed: of the weights.
        spread: standard deviation of the logarithms of the depthwise output's channels, taken back by their reader.
    """
    rng = np.random.default_rng(seed)

    def kernel(*shape: int) -> NDArray[np.float32]:
        fan_in = np.prod(shape[:-1]) if len(shape) != 3 else np.prod(shape[:2])
        return np.asarray(rng.normal(0, 1.4 / np.sqrt(fan_in), shape), np.float32)

    def bias(count: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(0, 0.1, count), np.float32)

    factors = np.exp(rng.normal(0, spread, 8)).astype(np.float32)
    nodes = (
        Node("stem", "conv", (IMAGE,), (2, 2), kernel=kernel(3, 3, 1, 8) / 128, bias=bias(8), layer="stem"),
        Node("stem_act", "relu", ("stem",), layer="stem_act"),
        Node(
            "separable_depthwise", "depthwise", ("stem_act",), padding="same", kernel=kernel(3, 3, 8) * factors,
            layer="separable",
        ),
        Node(
            "separable_pointwise", "conv", ("separable_depthwise",), kernel=kernel(1, 1, 8, 12) / factors[:, None],
            bias=bias(12), layer="separable",
        ),
        Node("pool", "maxpool", ("separable_pointwise",), (2, 2), (3, 3), "same", layer="pool"),
        Node(
            "shortcut", "conv", ("stem_act",), (2, 2), padding="same", kernel=kernel(1, 1, 8, 12), bias=bias(12),
            layer="shortcut",
        ),
        Node("sum", "add", ("pool", "shortcut"), layer="sum"),
        Node("sum_act", "relu", ("sum",), layer="sum_act"),
        Node("pooling", "mean", ("sum_act",), layer="pooling"),
        Node("hidden", "dense", ("pooling",), kernel=kernel(12, 8), bias=bias(8), layer="hidden"),
        Node("hidden_relu", "relu", ("hidden",), layer="hidden"),
        Node("logits", "dense", ("hidden_relu",), kernel=kernel(8, 3), bias=bias(3), layer="probabilities"),
        Node("probabilities", "softmax", ("logits",), layer="probabilities"),
    )  # fmt: skip
    return Graph(SIZE, nodes)


def some_images(count: int = 32, seed: int = 1) -> NDArray[np.uint8]:
    """Smooth blobs, uint8 `[N, 17, 17, 1]`."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 5, 5))
    fine = np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2)[:, :SIZE, :SIZE]
    return np.asarray(np.clip(fine + rng.normal(0, 12, fine.shape), 0, 255), np.uint8)[..., None]


def tensors_of(graph: Graph, images: NDArray[np.uint8], **hooks: Any) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a graph, as arrays."""
    from cxr_edge.quantization.simulate import interpret, kernels_of

    kernel = hooks.pop("kernel", kernels_of(graph))
    tensors = interpret(graph, images.astype(np.float32), kernel, **hooks)
    return {name: np.asarray(value) for name, value in tensors.items()}


def simulated(quantized: QuantizedGraph, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Every tensor of an int8 graph, as its readers see it."""
    from cxr_edge.quantization.simulate import fake_quantize

    ranges = quantized.ranges
    return tensors_of(
        quantized.graph,
        images,
        activation=lambda name, value: fake_quantize(value, *ranges[name]) if name in ranges else value,
    )
