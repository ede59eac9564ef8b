"""The int8 graph as a student: its learned variables, and its tensors computed with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.channel_scales import free_groups, scale_groups, with_channel_scales
from cxr_edge.quantization.channel_shifts import shifts_on_grid, with_channel_shifts
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges
from cxr_edge.quantization.simulate import (
    Tensors,
    fake_quantize,
    fake_round,
    interpret,
    kernels_of,
    linear,
    on_grid,
    passing,
    step_of,
)
from cxr_edge.training.backend import tf
from cxr_edge.training.pointwise import pointwise_convolution

#: Learning rates of the biases (in units of a range) and of the channel scales, relative to the bounds' logarithms.
BIAS_RATE, SCALE_RATE = 0.1, 5.0


@dataclass(frozen=True)
class Operations:
    """The operations that compute a student's graph: all have the same results, but not the same gradients."""

    quantize: Callable[[Any, Any, Any], Any]
    linear: Callable[[Node, Any, Any], Any]
    passing: Callable[[Any, Any, float], Any]


def _learnable(node: Node, value: Any, kernel: Any) -> Any:
    """As `linear`, with a gradient that a CPU computes quickly."""
    if node.kind == "conv" and node.strides == (1, 1) and tuple(kernel.shape[:2]) == (1, 1):
        return pointwise_convolution(value, kernel)
    return linear(node, value, kernel)


LEARNING = Operations(fake_quantize, _learnable, passing)
#: Without custom gradients, which take long to trace even if they are not used.
JUDGING = Operations(on_grid, linear, lambda value, *_: value)


class RangeStudent:
    """Learns a range per tensor and biases; kernels stay as they are.

    The variables are the logarithms of factors of the bounds, and changes of the biases in units of a range. Channel
    shifts (see `channel_shifts`) and the biases that hold them are not learned; they stay at the nearest whole step.
    """

    def __init__(self, start: QuantizedGraph, symmetric: bool = False) -> None:
        self.symmetric = symmetric
        self._shifts = shifts_on_grid(start.graph, start.ranges)
        without = {name: -shift for name, shift in self._shifts.items()}
        self.start = replace(start, graph=with_channel_shifts(start.graph, without))
        names = [name for name in start.ranges if name != IMAGE]
        self.low = {name: tf.Variable(0.0) for name in names}
        self.high = {name: tf.Variable(0.0) for name in names}
        # With a learned bias, a shift would not be a whole step.
        biased = [node for node in start.graph.nodes if node.bias is not None and node.name not in self._shifts]
        self.bias = {node.name: tf.Variable(np.zeros_like(node.bias)) for node in biased}
        self._units = {node.name: self._unit(node) for node in biased}
        self._kernels = kernels_of(start.graph)

    def learned(self) -> list[tuple[list[Any], float]]:
        """Groups of variables, and their learning rates relative to the overall one."""
        bounds = [*self.high.values()] if self.symmetric else [*self.low.values(), *self.high.values()]
        return [(bounds, 1.0), (list(self.bias.values()), BIAS_RATE)]

    def tensors(self, images: Any, learning: bool = True) -> Tensors:
        """Every tensor of the int8 graph for float32 images `[N, S, S, 1]`.

        Args:
            images: grey values 0..255.
            learning: whether gradients will be taken.
        """
        operations = LEARNING if learning else JUDGING
        activation = partial(self._activation, operations)
        layer = partial(self._layer, operations)
        return interpret(self.start.graph, images, self._kernel, self._bias, activation, layer)

    def unscaled(self, name: str, value: Any) -> Any:
        """A tensor's value in the units of the starting graph."""
        return value

    def result(self) -> QuantizedGraph:
        """The graph and ranges as they are learned now."""
        return self._shifted(self._learned_graph())

    def _learned_ranges(self) -> Ranges:
        ranges = {IMAGE: self.start.ranges[IMAGE]}
        for name in self.low:
            low, high = self._range(name)
            ranges[name] = (float(low), float(high))
        return ranges

    def _learned_graph(self) -> Graph:
        """The graph with the learned biases, but without channel shifts."""
        nodes = tuple(
            node if node.bias is None else replace(node, bias=np.asarray(self._learned_bias(node), np.float32))
            for node in self.start.graph.nodes
        )
        return replace(self.start.graph, nodes=nodes)

    def _shifted(self, graph: Graph) -> QuantizedGraph:
        """The learned graph with the shifts of its channels, and the ranges that belong to it."""
        shifts = {name: np.asarray(self._shift(name, self._range(name)), np.float64) for name in self._shifts}
        return QuantizedGraph(with_channel_shifts(graph, shifts), self._learned_ranges())

    def _scale(self, name: str) -> Any:
        """The channel scales of a tensor relative to the start's, `[C]`; None if they are the same."""
        return None

    def _shift(self, name: str, bounds: tuple[Any, Any]) -> Any:
        step, scale, shift = step_of(bounds), self._scale(name), tf.constant(self._shifts[name], tf.float32)
        shift = shift if scale is None else shift * scale
        # The gradient ignores only the rounding: through its shift, a clipped value depends on the channel scale.
        return shift + tf.stop_gradient(tf.round(shift / step) * step - shift)

    def _unit(self, node: Node) -> float:
        ranges = self.start.ranges
        (reader, *_) = (other for other in self.start.graph.nodes if node.name in other.inputs)
        low, high = ranges.get(node.name) or ranges.get(reader.name) or (0.0, 1.0)
        return high - low

    def _range(self, name: str) -> tuple[Any, Any]:
        low, high = self.start.ranges[name]
        top = high * tf.exp(self.high[name])
        return (top * (low / high) if self.symmetric else low * tf.exp(self.low[name])), top

    def _learned_bias(self, node: Node) -> Any:
        return node.bias + self.bias[node.name] * self._units[node.name] if node.name in self.bias else node.bias

    def _bias(self, node: Node) -> Any:
        return self._learned_bias(node)

    def _kernel(self, node: Node) -> Any:
        return self._kernels(node)

    def _layer(self, operations: Operations, node: Node, value: Any, kernel: Any) -> Any:
        return operations.linear(node, value, kernel)

    def _activation(self, operations: Operations, name: str, value: Any) -> Any:
        if name not in self.low:
            return value
        bounds = self._range(name)
        if name not in self._shifts:
            return operations.quantize(value, *bounds)
        # Subtracted again here, so that it need not be in the readers' biases.
        shift = self._shift(name, bounds)
        return operations.quantize(value + shift, *bounds) - shift


class ScaleStudent(RangeStudent):
    """Learns channel scales as well (see `channel_scales`); kernels are rounded to nearest, again at each step.

    Args:
        graph: in float.
        ranges: of its quantized tensors, to start from.
        symmetric: keep every zero point at 0.
    """

    def __init__(self, graph: Graph, ranges: Ranges, symmetric: bool = False) -> None:
        super().__init__(QuantizedGraph(graph, ranges), symmetric)
        self._groups = scale_groups(graph)
        self.scales = {
            group: tf.Variable(np.zeros(channels, np.float32))
            for group, channels in free_groups(graph, self._groups).items()
        }

    def learned(self) -> list[tuple[list[Any], float]]:
        return [*super().learned(), (list(self.scales.values()), SCALE_RATE)]

    def unscaled(self, name: str, value: Any) -> Any:
        scale = self._scale(name)
        return value if scale is None else value / scale

    def result(self) -> QuantizedGraph:
        """Channels and ranges as they are learned now, with kernels in float."""
        scales = {group: np.exp(logarithms.numpy()) for group, logarithms in self.scales.items()}
        return replace(self._shifted(with_channel_scales(self._learned_graph(), scales)), scales=scales)

    def _scale(self, name: str) -> Any:
        logarithms = self.scales.get(self._groups[name])
        return None if logarithms is None else tf.exp(logarithms)

    def _kernel(self, node: Node) -> Any:
        kernel, written, read = self._kernels(node), self._scale(node.name), self._scale(node.inputs[0])
        if read is not None:
            kernel = kernel / (read[:, None] if node.kind in ("conv", "dense") else read)
        if written is not None:
            kernel = kernel * written
        return tf.stop_gradient(kernel if node.in_float else fake_round(kernel, node.per_tensor))

    def _layer(self, operations: Operations, node: Node, value: Any, kernel: Any) -> Any:
        """The gradient ignores the rounding of kernels (straight-through estimator)."""
        written, read = self.scales.get(self._groups[node.name]), self.scales.get(self._groups[node.inputs[0]])
        value = value if read is None else operations.passing(value, read, -1.0)
        value = operations.linear(node, value, kernel)
        return value if written is None else operations.passing(value, written, 1.0)

    def _bias(self, node: Node) -> Any:
        bias, written = self._learned_bias(node), self._scale(node.name)
        return bias if written is None else bias * written
