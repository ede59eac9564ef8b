"""Per-channel constants that leave the float function unchanged and centre the outputs of depthwise convolutions.

A depthwise output has both signs, and one range for all its channels: a channel whose values are all on one side of 0
wastes half of the range. There is no ReLU between it and the pointwise convolution that reads it, so a constant added
by the depthwise bias is subtracted again by the pointwise one: exactly, and at no cost at inference.

The constants are whole steps of the tensor's grid. Where all inputs of a depthwise kernel are 0, as is common after a
ReLU, its output is 0 and has no rounding error; a constant between two steps would add the same error at all these
positions. With only depthwise outputs in int8, on validation images of two models at 128 px: 26.4 and 31.0 dB of the
logits without centring, 18.1 and 13.5 centred, 29.8 and 34.1 centred by whole steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import Ranges
from cxr_edge.quantization.simulate import step_of

#: A constant for each channel of some tensors, by their names, float `[C]`.
ChannelShifts = Mapping[str, NDArray[np.floating]]


def shiftable_tensors(graph: Graph) -> tuple[str, ...]:
    """The depthwise outputs that only pointwise convolutions read."""
    readers = graph.consumers()
    return tuple(
        node.name for node in graph.nodes if node.kind == "depthwise" and all(map(_is_pointwise, readers[node.name]))
    )


def _is_pointwise(node: Node) -> bool:
    return node.kind == "conv" and node.kernel is not None and node.kernel.shape[:2] == (1, 1)


def with_channel_shifts(graph: Graph, shifts: ChannelShifts) -> Graph:
    """The graph with constants added to the channels of some tensors: the same function, but for float32's rounding.

    Args:
        graph: in float.
        shifts: for some of `shiftable_tensors(graph)`.
    """

    def shifted(node: Node) -> Node:
        bias = 0.0 if node.bias is None else node.bias.astype(np.float64)
        if node.name in shifts:
            return replace(node, bias=np.asarray(bias + shifts[node.name], np.float32))
        if node.kernel is not None and node.inputs[0] in shifts:
            return replace(node, bias=np.asarray(bias - shifts[node.inputs[0]] @ node.kernel[0, 0], np.float32))
        return node

    return graph.changed(shifted)


def shifts_on_grid(graph: Graph, ranges: Ranges) -> dict[str, NDArray[np.float64]]:
    """The bias of each shiftable tensor that has a range, at the nearest whole step."""
    shifts, shiftable = {}, set(shiftable_tensors(graph)) & set(ranges)
    for node in graph.nodes:
        if node.bias is not None and node.name in shiftable:
            step = step_of(ranges[node.name])
            shifts[node.name] = np.asarray(np.round(node.bias / step) * step, np.float64)
    return shifts


def with_shifts_on_grid(graph: Graph, ranges: Ranges) -> Graph:
    """The same function with each channel's shift at the nearest whole step.

    Args:
        graph: in float, its depthwise biases nothing but shifts.
        ranges: of its quantized tensors.
    """
    biases = {node.name: node.bias for node in graph.nodes if node.bias is not None}
    return with_channel_shifts(
        graph, {name: shift - biases[name] for name, shift in shifts_on_grid(graph, ranges).items()}
    )
