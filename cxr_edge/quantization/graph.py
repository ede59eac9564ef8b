"""The deployment graph as plain data. Every artifact, float or int8, descends from this one graph."""

from __future__ import annotations

import difflib
import fnmatch
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import HEATMAP, IMAGE
from cxr_edge.errors import OptionError
from cxr_edge.quantization.parallel import on_all_cores

_KEPT_KINDS = ("conv", "depthwise", "dense", "add")


@dataclass(frozen=True)
class Node:
    """One operation. `kind` is conv, depthwise, dense, relu, maxpool, add, mean, gate or softmax.

    A gate passes the channels of its first input, `[N, H, W, C]`, whose value in its second, `[N, C]`, is above 0.

    `kernel` is `[H, W, I, O]` for conv, `[H, W, C]` for depthwise, `[I, O]` for dense; `bias` is `[O]`. `layer` is the
    Keras layer that it comes from; `in_float` leaves it out of the quantization, `per_tensor` gives its int8 kernel one
    scale instead of one per channel.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    strides: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    padding: str = "valid"
    kernel: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    layer: str = ""
    in_float: bool = False
    per_tensor: bool = False


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order; the last one's output is the probabilities, that of `HEATMAP`, if any, the heat map."""

    image_size: int
    nodes: tuple[Node, ...]

    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, by its name."""
        readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def changed(self, change: Callable[[Node], Node]) -> Graph:
        """The graph with each node changed independently, several at a time."""
        return replace(self, nodes=tuple(on_all_cores(change, self.nodes)))


def quantized_tensors(graph: Graph) -> tuple[str, ...]:
    """Names of the tensors that are quantized, each with a range of its own.

    A convolution read by nothing but a ReLU is fused with it, so only the ReLU's output is quantized. Max pooling
    passes its input's integers through, and softmax stays float. A tensor between two layers left in float stays float.
    """
    readers = graph.consumers()
    names = [IMAGE]
    for node in graph.nodes:
        fused = node.kind in ("conv", "dense") and [reader.kind for reader in readers[node.name]] == ["relu"]
        float_only = node.in_float and all(reader.in_float or reader.kind == "softmax" for reader in readers[node.name])
        if not fused and not float_only and node.kind not in ("maxpool", "gate", "softmax"):
            names.append(node.name)
    return tuple(names)


def quantizable_layers(graph: Graph) -> tuple[str, ...]:
    """The layers that can be left in float, in execution order: convolutions, dense layers and residual sums."""
    return tuple(dict.fromkeys(node.layer for node in graph.nodes if node.kernel is not None or node.kind == "add"))


def keep_in_float(graph: Graph, patterns: Sequence[str]) -> Graph:
    """The graph with some layers, and the ReLU after each of them, left out of the quantization.

    Args:
        graph: as folded.
        patterns: names from `quantizable_layers`, in which `*` stands for any text and `?` for any character.

    Raises:
        OptionError: a pattern names no layer.
    """
    layers = quantizable_layers(graph)
    kept: set[str] = set()
    for pattern in patterns:
        named = fnmatch.filter(layers, pattern)
        if not named:
            near = difflib.get_close_matches(pattern, layers, n=3, cutoff=0.4)
            raise OptionError(f"--keep-float {pattern}: no such layer; the closest: {', '.join(near or layers[:3])}")
        kept.update(named)
    floating: set[str] = set()
    for node in graph.nodes:
        if (node.layer in kept and node.kind in _KEPT_KINDS) or (node.kind == "relu" and node.inputs[0] in floating):
            floating.add(node.name)
    return replace(graph, nodes=tuple(replace(node, in_float=node.name in floating) for node in graph.nodes))


def with_dense_per_tensor(graph: Graph) -> Graph:
    """The graph with one scale for each dense kernel, for runtimes older than per-channel fully connected layers."""
    return replace(graph, nodes=tuple(replace(node, per_tensor=node.kind == "dense") for node in graph.nodes))


def with_temperature(graph: Graph, temperature: float) -> tuple[Graph, str]:
    """The graph with its logits divided by a temperature, and their tensor's name, whose range shrinks with it.

    The last dense layer's kernel and bias take the factor.
    """
    name = graph.nodes[-1].inputs[0]

    def cooled(node: Node) -> Node:
        if node.name != name:
            return node
        assert node.kernel is not None and node.bias is not None
        factor = np.float32(1 / temperature)
        return replace(node, kernel=node.kernel * factor, bias=node.bias * factor)

    return replace(graph, nodes=tuple(cooled(node) for node in graph.nodes)), name


def with_heatmap(graph: Graph) -> Graph:
    """The graph with a class activation map `[N, H, W, K]` at the resolution of the last feature map.

    The head is linear except for one ReLU, so its logits are a mean over positions: pooling and the hidden layer are
    swapped, and the ReLU passes the channels that are above 0 for the pooled features. The value for a class at a
    position is then its contribution to that logit, bias included (HiResCAM, Draelos and Carin 2020, which for this
    head is Grad-CAM): **the softmax of the mean over all positions is the probabilities.** At each position, the mean
    over the classes is subtracted, which softmax ignores, so that a map shows the evidence for one class against the
    others.
    """
    by_name = {node.name: node for node in graph.nodes}
    softmax = graph.nodes[-1]
    logits = by_name[softmax.inputs[0]]
    opened = by_name[logits.inputs[0]]
    hidden = by_name[opened.inputs[0]]
    pooling = by_name[hidden.inputs[0]]
    assert hidden.kernel is not None and logits.kernel is not None and logits.bias is not None
    kernel = hidden.kernel[None, None]
    places = replace(hidden, name="heatmap_hidden", kind="conv", inputs=pooling.inputs, kernel=kernel, layer=HEATMAP)
    gate = Node("heatmap_gate", "gate", (places.name, opened.name), layer=HEATMAP, in_float=True)
    centred = logits.kernel - logits.kernel.mean(axis=1, keepdims=True)
    heatmap = Node(
        HEATMAP,
        "conv",
        (gate.name,),
        kernel=centred[None, None],
        bias=logits.bias - logits.bias.mean(),
        layer=HEATMAP,
        in_float=True,
    )
    after = graph.nodes.index(logits)
    return replace(graph, nodes=(*graph.nodes[:after], places, gate, heatmap, *graph.nodes[after:]))
