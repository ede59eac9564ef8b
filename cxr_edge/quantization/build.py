"""The deployment graph as a Keras model that the TFLite converter understands: in float, or in int8 by tfmot."""

from __future__ import annotations

from typing import Any

from cxr_edge.artifacts.contract import HEATMAP, IMAGE
from cxr_edge.quantization.backend import keras, tf, tfmot
from cxr_edge.quantization.graph import Graph, Node, quantized_tensors
from cxr_edge.quantization.quantized_graph import Ranges
from cxr_edge.quantization.simulate import TINY, Tensors

# tfmot has no types: its methods are overridden with dictionaries of anything.
_Quantizer: Any = tfmot.quantization.keras.quantizers.Quantizer
_QuantizeConfig: Any = tfmot.quantization.keras.QuantizeConfig


class RangeQuantizer(_Quantizer):  # type: ignore[misc]
    """int8 between two known bounds, which tfmot's own moving average would drag to the minimum and the maximum."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        return {}

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high}


class OutputQuantization(_QuantizeConfig):  # type: ignore[misc]
    """Quantize only a layer's output: the kernels are already on grids, which the converter derives from them."""

    def __init__(self, quantizer: Any) -> None:
        self.quantizer = quantizer

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        pass

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return [self.quantizer]

    def get_config(self) -> dict[str, Any]:
        return {"quantizer": self.quantizer}


class OpenChannels(keras.layers.Layer):  # type: ignore[misc]
    """Pass the channels of `[N, H, W, C]` whose value in a non-negative `[N, C]` is above 0, and set the others to 0.

    As a quotient: LiteRT's delegate has no comparison, and OpenVINO turns a steep ReLU6 into integers that are all 0.
    """

    def call(self, inputs: Any) -> Any:
        values, opened = inputs
        opened = tf.reshape(opened, (-1, 1, 1, values.shape[-1]))
        return values * (opened / (opened + TINY))


def _layer(node: Node) -> keras.layers.Layer:
    size = {"strides": node.strides, "padding": node.padding, "name": node.name}
    if node.kind == "conv":
        assert node.kernel is not None
        return keras.layers.Conv2D(node.kernel.shape[-1], node.kernel.shape[:2], **size)
    if node.kind == "depthwise":
        assert node.kernel is not None
        return keras.layers.DepthwiseConv2D(node.kernel.shape[:2], use_bias=node.bias is not None, **size)
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
        return OpenChannels(name=node.name)
    return keras.layers.Activation({"relu": "relu", "softmax": "softmax"}[node.kind], name=node.name)


def build_graph(graph: Graph, ranges: Ranges | None = None) -> keras.Model:
    """A Keras model of the graph. Input `image` float32 `[N, S, S, 1]` (0..255), output float32 `[N, K]`.

    With `HEATMAP` in the graph it has two outputs, the map float32 `[N, H, W, K]` the second.

    Args:
        graph: what to build; with ranges, its kernels lie on their grids.
        ranges: of the tensors to quantize, see `quantized_tensors`; None builds the float model. With ranges, a ReLU
            follows its quantized sum, to be fused by `cxr_edge.exporting.tflite_rewrite`.
    """
    quantized = quantized_tensors(graph) if ranges is not None else ()
    image = keras.Input((graph.image_size, graph.image_size, 1), name=IMAGE)
    tensors = {IMAGE: image}
    sums: Tensors = {}

    def wrapped(layer: Any, name: str) -> Any:
        assert ranges is not None
        return tfmot.quantization.keras.QuantizeWrapperV2(layer, OutputQuantization(RangeQuantizer(*ranges[name])))

    def rounded(name: str, value: Any) -> Any:
        return wrapped(keras.layers.Activation("linear", name=f"quantize_{name}"), name)(value)

    if IMAGE in quantized:
        tensors[IMAGE] = rounded(IMAGE, image)
    for node in graph.nodes:
        source = sums if node.kind == "relu" and node.in_float else {}
        inputs = [source.get(name, tensors[name]) for name in node.inputs]
        layer = _layer(node)
        if node.kernel is not None:
            # Before wrapping: the wrapper has weights of its own.
            with keras.backend.name_scope(node.name):
                layer.build(inputs[0].shape)
            values = node.kernel[..., None] if node.kind == "depthwise" else node.kernel
            layer.set_weights([values] if node.bias is None else [values, node.bias])
        if node.name in quantized and node.kind != "add":
            layer = wrapped(layer, node.name)
        tensors[node.name] = layer(inputs if len(inputs) > 1 else inputs[0])
        if node.kind == "add" and node.name in quantized:
            sums[node.name] = tensors[node.name]
            tensors[node.name] = rounded(node.name, tensors[node.name])
    outputs = [tensors[name] for name in (graph.nodes[-1].name, HEATMAP) if name in tensors]
    return keras.Model(image, outputs if HEATMAP in tensors else outputs[0], name="deployment")
