"""The deployment graph computed by TensorFlow, in float or with int8 simulated, to calibrate, learn and explain.

This simulates the integer kernels of TFLite and ONNX Runtime: activations on a grid of 255 steps per tensor, kernels on
a symmetric grid per output channel, sums with bits to spare, one rounding per operator. A ReLU on a residual sum reads
the sum before it is rounded: on the device the sum is computed twice, once with the ReLU fused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.kernels import LARGEST
from cxr_edge.training.backend import tf

#: Steps between the lowest and the highest integer of an activation.
ACTIVATION_STEPS = 255.0
#: Small beside a step of a quantized hidden unit, and not yet subnormal in float16.
TINY = 1e-4
#: TensorFlow's tensors by their names; it comes without types.
Tensors: TypeAlias = dict[str, Any]


def kernels_of(graph: Graph) -> Callable[[Node], Any]:
    """The kernel of each node as a tensor, to be made outside of a traced function.

    Inside, each trace would hold copies of all of them as constants: gigabytes.
    """
    tensors = {node.name: tf.constant(node.kernel) for node in graph.nodes if node.kernel is not None}
    return lambda node: tensors[node.name]


def images_of(graph: Graph) -> Any:
    """The input of a traced function: batches of any size, so that a smaller last one is not traced again."""
    return tf.TensorSpec([None, graph.image_size, graph.image_size, 1], tf.uint8)


def linear(node: Node, value: Any, kernel: Any) -> Any:
    """A convolution or dense layer without its bias."""
    strides, padding = [1, *node.strides, 1], node.padding.upper()
    if node.kind == "conv":
        return tf.nn.conv2d(value, kernel, strides, padding)
    if node.kind == "depthwise":
        return tf.nn.depthwise_conv2d(value, kernel[..., None], strides, padding)
    return value @ kernel


def interpret(
    graph: Graph,
    images: Any,
    kernel: Callable[[Node], Any],
    bias: Callable[[Node], Any] = lambda node: node.bias,
    activation: Callable[[str, Any], Any] = lambda _, value: value,
    layer: Callable[[Node, Any, Any], Any] = linear,
) -> Tensors:
    """Every tensor of a graph, by its name.

    Args:
        graph: in float.
        images: float32 `[N, S, S, 1]`, grey values 0..255.
        kernel, bias: the kernel and the bias of a node, in the layout of `Node`.
        activation: the value that readers of a tensor see instead of its own. A ReLU on a sum sees the original.
        layer: computes a node from its input and kernel.
    """
    tensors = {IMAGE: activation(IMAGE, images)}
    sums: Tensors = {}
    for node in graph.nodes:
        inputs = [sums.get(name, tensors[name]) if node.kind == "relu" else tensors[name] for name in node.inputs]
        if node.kind in ("conv", "depthwise", "dense"):
            value = layer(node, inputs[0], kernel(node))
            value = value if node.bias is None else value + bias(node)
        else:
            value = _compute(node, inputs)
        if node.kind == "add":
            sums[node.name] = value
        tensors[node.name] = activation(node.name, value)
    return tensors


def _compute(node: Node, inputs: list[Any]) -> Any:
    if node.kind == "relu":
        return tf.nn.relu(inputs[0])
    if node.kind == "maxpool":
        return tf.nn.max_pool2d(inputs[0], node.window, node.strides, node.padding.upper())
    if node.kind == "add":
        return inputs[0] + inputs[1]
    if node.kind == "mean":
        return tf.reduce_mean(inputs[0], [1, 2])
    if node.kind == "gate":
        values, opened = inputs[0], inputs[1][:, None, None, :]
        return values * (opened / (opened + TINY))
    return tf.nn.softmax(inputs[0])


def step_of(bounds: Any) -> Any:
    """The step of the grid between two bounds, which are numbers or tensors."""
    low, high = bounds
    return (high - low) / ACTIVATION_STEPS


def on_grid(value: Any, low: Any, high: Any) -> Any:
    """Like `fake_quantize`, without its custom gradient, which takes long to trace even if it is not used."""
    return _on_grid(value, *_grid(tf.convert_to_tensor(low), tf.convert_to_tensor(high)))


def _grid(low: Any, high: Any) -> tuple[Any, Any]:
    """Step and zero point of the grid between two bounds."""
    step = step_of((low, high))
    return step, tf.round(-low / step)


def _on_grid(value: Any, step: Any, zero_point: Any) -> Any:
    return (tf.clip_by_value(tf.round(value / step) + zero_point, 0.0, ACTIVATION_STEPS) - zero_point) * step


@tf.custom_gradient  # type: ignore[untyped-decorator]
def fake_quantize(value: Any, low: Any, high: Any) -> Any:
    """A tensor rounded to the grid between two bounds, of which 0 is a point.

    Also differentiable with respect to the bounds, as in "Learned Step Size Quantization" (Esser et al., 2020): the
    derivative with respect to the step is, for a clipped value, the integer that it is clipped to, and for any other
    value its rounding error in steps. The zero point is not learned. The gradient is a custom one, because TensorFlow's
    own chain of gradients keeps six copies of every activation.
    """
    step, zero_point = _grid(low, high)
    result = _on_grid(value, step, zero_point)

    def gradient(upstream: Any) -> tuple[Any, Any, Any]:
        bottom, top = (-zero_point - 0.5) * step, (ACTIVATION_STEPS - zero_point + 0.5) * step
        within = tf.cast((value >= bottom) & (value <= top), value.dtype)
        of_bound = tf.reduce_sum(upstream * (result - value * within)) / step / ACTIVATION_STEPS
        return upstream * within, -of_bound, of_bound

    return result, gradient


def fake_round(kernel: Any, per_tensor: bool = False) -> Any:
    """A kernel rounded to the nearest points of its grid, as `kernels.nearest` does it."""
    axes = None if per_tensor else list(range(len(kernel.shape) - 1))
    step = tf.maximum(tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True), 1e-12) / LARGEST
    return tf.round(kernel / step) * step


@tf.custom_gradient  # type: ignore[untyped-decorator]
def passing(value: Any, logarithms: Any, sign: float) -> Any:
    """A tensor unchanged, with a gradient for the logarithms of channel scales `[C]` in the kernel next to it.

    Scaling a kernel's output channels (`sign` 1) is the same as scaling its output, and scaling its input channels by
    the inverse (`sign` -1) the same as scaling its input by it. Taken here, the gradient needs no gradient of the
    kernel, which costs as much as the layer itself.
    """

    def gradient(upstream: Any) -> tuple[Any, Any, None]:
        return upstream, sign * tf.reduce_sum(value * upstream, list(range(len(value.shape) - 1))), None

    return tf.identity(value), gradient
