"""Per-channel scales that leave the float function unchanged and make its tensors easier to quantize.

A tensor has one quantization step for all channels, so a channel that is much smaller than the largest one is left with
few steps: the largest channel of Xception's depthwise outputs is up to 214 times the median one. A positive factor per
channel moves freely through ReLU, max pooling, the mean and a sum (whose inputs must then share it); a convolution
that writes the tensor multiplies its output channels by it, one that reads it divides its input channels by it.
`equalization` chooses the initial factors.

This costs nothing in a kernel that writes the tensor, or in a depthwise kernel that reads it: both have a step per
scaled channel. Only a pointwise or dense kernel that reads it loses precision: its input channels share one step per
output channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.graph import Graph, Node

_PASSING = frozenset({"relu", "maxpool", "mean", "add", "softmax", "gate"})

#: For each group of tensors, by the name of one of them, a positive factor per channel, float32 `[C]`.
ChannelScales = Mapping[str, NDArray[np.float32]]


def scale_groups(graph: Graph) -> dict[str, str]:
    """For each tensor of a graph, the name of its group: all tensors of a group share one vector of channel scales.

    The image and the logits, whose scale must stay 1, are groups too; see `free_groups`.
    """
    parent = {IMAGE: IMAGE, **{node.name: node.name for node in graph.nodes}}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        if node.kind in _PASSING:
            for name in node.inputs:
                parent[root(node.name)] = root(name)
    return {name: root(name) for name in parent}


def free_groups(graph: Graph, groups: Mapping[str, str]) -> dict[str, int]:
    """The groups that may be scaled, with their number of channels: all but the image's and the logits'."""
    fixed = {groups[IMAGE], groups[graph.nodes[-1].name]}
    channels = {}
    for node in graph.nodes:
        if node.kernel is not None and groups[node.name] not in fixed:
            channels[groups[node.name]] = node.kernel.shape[-1]
    return channels


def with_channel_scales(graph: Graph, scales: ChannelScales) -> Graph:
    """The graph with its channels scaled: the same function, but for float32's rounding.

    Raises:
        KeyError: a scale names no group of `scale_groups(graph)`.
    """
    groups = scale_groups(graph)
    if unknown := set(scales) - set(groups.values()):
        raise KeyError(f"no group of tensors is called {', '.join(sorted(unknown))}")

    def scaled(node: Node) -> Node:
        if node.kernel is None:
            return node
        kernel = node.kernel.astype(np.float64)
        written, read = scales.get(groups[node.name]), scales.get(groups[node.inputs[0]])
        if read is not None:
            kernel = kernel / (read[:, None] if node.kind in ("conv", "dense") else read)
        if written is not None:
            kernel = kernel * written
        bias = node.bias if node.bias is None or written is None else (node.bias * written).astype(np.float32)
        return replace(node, kernel=kernel.astype(np.float32), bias=bias)

    return graph.changed(scaled)
