"""The deployment graph as a Keras model: in float, or with tfmot's wrappers simulating int8."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import HEATMAP, IMAGE
from cxr_edge.quantization.backend import keras, tf, tfmot
from cxr_edge.quantization.graph import Graph, Node, quantized_tensors

#: Lower and upper bound of a tensor's representable values.
Ranges = Mapping[str, tuple[float, float]]

_Quantizer: Any = tfmot.quantization.keras.quantizers.Quantizer
_QuantizeConfig: Any = tfmot.quantization.keras.QuantizeConfig
_LARGEST = 127


class ChannelWeightsQuantizer(_Quantizer):  # type: ignore[misc]
    """Symmetric int8 a channel, -127..127, from the weights' largest magnitude of this very step.

    Args:
        axis: of the channels: the last one, or the third of a depthwise kernel `[H, W, C, 1]`; None for one scale.
    """

    def __init__(self, axis: int | None) -> None:
        self.axis = axis

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        others = [axis for axis in range(len(inputs.shape)) if axis != self.axis]
        step = tf.maximum(tf.reduce_max(tf.abs(inputs), axis=others, keepdims=True), 1e-12) / _LARGEST
        step = tf.stop_gradient(step)
        # Straight-through estimator: the gradient passes the rounding as if it were not there.
        return inputs + tf.stop_gradient(tf.round(inputs / step) * step - inputs)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class CalibratedRangeQuantizer(_Quantizer):  # type: ignore[misc]
    """int8 between two calibrated bounds, which training does not move.

    tfmot's own moving average would drag the bounds back to minimum and maximum.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class LayerQuantization(_QuantizeConfig):  # type: ignore[misc]
    """What of a layer is quantized, and by which quantizer: its kernel (with the attribute's name), its output."""

    def __init__(self, kernel: tuple[str, Any] | None, output: Any) -> None:
        self.kernel, self.output = kernel, output

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        if self.kernel is None:
            return []
        name, quantizer = self.kernel
        return [(getattr(layer, name), quantizer)]

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        if self.kernel is not None:
            setattr(layer, self.kernel[0], quantize_weights[0])

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return [] if self.output is None else [self.output]

    def get_config(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "output": self.output}


class SwitchedQuantizer(_Quantizer):  # type: ignore[misc]
    """A quantizer that acts where a variable is 1 and passes its input where it is 0."""

    def __init__(self, quantizer: Any, switch: Any) -> None:
        self.quantizer, self.switch = quantizer, switch

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        return inputs + self.switch * (self.quantizer(inputs, training, weights) - inputs)

    def get_config(self) -> dict[str, Any]:
        return {}


#: Small beside a step of a quantized hidden unit, and not yet subnormal in float16.
_TINY = 1e-4


class Gate(keras.layers.Layer):  # type: ignore[misc]
    """`[N, H, W, C]` and `[N, C]`, which is not negative: the channels of the first where the second is above 0.

    By a quotient: LiteRT's delegate has no comparison, and OpenVINO turns a steep ReLU6 into integers that are all 0.
    """

    def call(self, inputs: Any) -> Any:
        values, opened = inputs
        opened = tf.reshape(opened, (-1, 1, 1, values.shape[-1]))
        return values * (opened / (opened + _TINY))


def _layer(node: Node) -> keras.layers.Layer:
    size = {"strides": node.strides, "padding": node.padding, "name": node.name}
    if node.kind == "conv":
        assert node.kernel is not None
        return keras.layers.Conv2D(node.kernel.shape[-1], node.kernel.shape[:2], **size)
    if node.kind == "depthwise":
        assert node.kernel is not None
        return keras.layers.DepthwiseConv2D(node.kernel.shape[:2], use_bias=False, **size)
    if node.kind == "dense":
        assert node.kernel is not None
        return keras.layers.Dense(node.kernel.shape[-1], name=node.name)
    if node.kind == "maxpool":
        return keras.layers.MaxPooling2D(node.window, **size)
    if node.kind == "mean":
        return keras.layers.GlobalAveragePooling2D(name=node.name)
    if node.kind == "add":
        return keras.layers.Add(name=node.name)
    if node.kind == "gate":
        return Gate(name=node.name)
    return keras.layers.Activation({"relu": "relu", "softmax": "softmax"}[node.kind], name=node.name)


_KERNELS = {"conv": ("kernel", 3), "depthwise": ("depthwise_kernel", 2), "dense": ("kernel", 1)}

#: Given the name of a tensor, or of a node followed by `/kernel`, and its quantizer: the quantizer to use.
Decorator = Callable[[str, Any], Any]


@dataclass(frozen=True)
class BuiltGraph:
    """A graph as a Keras model, with each node's output, and the variables of each that has any: kernel, then bias."""

    graph: Graph
    model: keras.Model
    tensors: dict[str, Any]
    variables: dict[str, list[Any]]

    def current_graph(self) -> Graph:
        """The graph with the model's weights as they are now."""
        nodes = []
        for node in self.graph.nodes:
            if node.name in self.variables:
                kernel, *bias = (variable.numpy() for variable in self.variables[node.name])
                kernel = kernel[..., 0] if node.kind == "depthwise" else kernel
                node = replace(node, kernel=kernel, bias=bias[0] if bias else None)
            nodes.append(node)
        return replace(self.graph, nodes=tuple(nodes))


def build_graph(
    graph: Graph,
    ranges: Ranges | None = None,
    for_conversion: bool = False,
    decorate: Decorator = lambda name, quantizer: quantizer,
) -> BuiltGraph:
    """A Keras model of the graph. Input `image` float32 `[N, S, S, 1]` (0..255), output float32 `[N, K]`.

    With `HEATMAP` in the graph it has two outputs, the map float32 `[N, H, W, K]` the second.

    A ReLU on a residual sum reads the sum before it is quantized: on the device the sum is computed twice, once for the
    shortcut and once with the ReLU fused, each rounded to a range of its own.

    Args:
        graph: what to build.
        ranges: of the tensors to quantize, by `quantized_tensors`; None builds the float model.
        for_conversion: with `ranges`, build what the TFLite converter understands: kernels as they are (they lie on
            their grids already), and every ReLU behind a quantized sum, to be fused by `tflite_rewrite`.
        decorate: what to put in a quantizer's place.
    """
    wanted = quantized_tensors(graph) if ranges is not None else ()
    image = keras.Input((graph.image_size, graph.image_size, 1), name=IMAGE)
    tensors = {IMAGE: image}
    sums: dict[str, Any] = {}
    variables = {}
    wrap: Any = tfmot.quantization.keras.QuantizeWrapperV2

    def range_quantizer(name: str) -> Any:
        assert ranges is not None
        return decorate(name, CalibratedRangeQuantizer(*ranges[name]))

    def quantized(name: str, value: Any) -> Any:
        identity = keras.layers.Activation("linear", name=f"quantize_{name}")
        return wrap(identity, LayerQuantization(None, range_quantizer(name)))(value)

    if IMAGE in wanted:
        tensors[IMAGE] = quantized(IMAGE, image)
    for node in graph.nodes:
        layer = plain = _layer(node)
        source = sums if node.kind == "relu" and (node.in_float or not for_conversion) else {}
        inputs = [source.get(name, tensors[name]) for name in node.inputs]
        if node.kernel is not None:
            # Before wrapping: the wrapper puts the quantized tensor in the variable's place.
            with keras.backend.name_scope(node.name):
                plain.build(inputs[0].shape)
            variables[node.name] = list(plain.weights)
            values = node.kernel[..., None] if node.kind == "depthwise" else node.kernel
            plain.set_weights([values] if node.bias is None else [values, node.bias])
        output = range_quantizer(node.name) if node.name in wanted and node.kind != "add" else None
        kernel = None
        if node.kernel is not None and ranges is not None and not for_conversion and not node.in_float:
            attribute, axis = _KERNELS[node.kind]
            quantizer = ChannelWeightsQuantizer(None if node.per_tensor else axis)
            kernel = attribute, decorate(f"{node.name}/kernel", quantizer)
        if output or kernel:
            layer = wrap(plain, LayerQuantization(kernel, output))
        tensors[node.name] = layer(inputs if len(inputs) > 1 else inputs[0])
        if node.kind == "add" and node.name in wanted:
            sums[node.name] = tensors[node.name]
            tensors[node.name] = quantized(node.name, tensors[node.name])
    outputs = [tensors[name] for name in (graph.nodes[-1].name, HEATMAP) if name in tensors]
    model = keras.Model(image, outputs if HEATMAP in tensors else outputs[0], name="deployment")
    return BuiltGraph(graph, model, tensors, variables)


def on_grid(graph: Graph) -> Graph:
    """The graph with its kernels moved onto their int8 grids, as `ChannelWeightsQuantizer` does in training."""
    return replace(
        graph,
        nodes=tuple(
            node if node.kernel is None or node.in_float else replace(node, kernel=_quantized(node))
            for node in graph.nodes
        ),
    )


def _quantized(node: Node) -> NDArray[np.float32]:
    assert node.kernel is not None
    others = None if node.per_tensor else tuple(range(node.kernel.ndim - 1))
    step = np.maximum(np.abs(node.kernel).max(axis=others, keepdims=True), 1e-12) / np.float32(_LARGEST)
    moved: NDArray[np.float32] = (np.round(node.kernel / step) * step).astype(np.float32)
    return moved
