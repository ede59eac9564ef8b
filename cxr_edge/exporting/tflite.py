"""The deployment graph as a TFLite file that follows the artifact contract."""

from __future__ import annotations

import tempfile
from typing import Any

from cxr_edge.artifacts.contract import HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.exporting.tflite_rewrite import finish_float, finish_int8
from cxr_edge.quantization.build import build_graph
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.training.backend import keras, tf


def _converter(model: keras.Model, input_type: Any, batch: int | None, folder: str) -> Any:
    """A converter with the contract's names as the signature; N is dynamic if `batch` is None."""
    size = model.input_shape[1]

    @tf.function(input_signature=[tf.TensorSpec((batch, size, size, 1), input_type, name=IMAGE)])  # type: ignore[untyped-decorator]
    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = model(tf.cast(image, tf.float32), training=False)
        named = zip((PROBABILITIES, HEATMAP), outputs if isinstance(outputs, list) else [outputs], strict=False)
        return dict(named)

    module = tf.Module()
    # Not the model itself: saving it with the functions of each layer would take two thirds of a conversion.
    module.weights = model.variables
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    return tf.lite.TFLiteConverter.from_saved_model(folder)


def float_tflite(graph: Graph, batch: int | None = None, half: bool = False) -> bytes:
    """A float32 TFLite file; with `half`, its weights are float16 and computation stays float32 on a CPU."""
    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(build_graph(graph), tf.uint8, batch, folder)
        if half:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return finish_float(converter.convert(), PROBABILITIES)


def int8_tflite(quantized: QuantizedGraph, batch: int | None = None, integer_output: bool = False) -> bytes:
    """A full-integer TFLite file with the given activation ranges; only softmax stays float.

    Args:
        quantized: its kernels lie on their int8 grids, from which the converter derives their scales. Nodes marked
            `in_float` stay float.
        batch: the only N that the file accepts; None for any.
        integer_output: end in an int8 softmax (scale 1/256, zero point -128) instead, for accelerators without float.
    """
    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(build_graph(quantized.graph, quantized.ranges), tf.float32, batch, folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.uint8
        if any(node.per_tensor for node in quantized.graph.nodes):
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        if integer_output:
            converter.inference_output_type = tf.int8
        return finish_int8(converter.convert(), quantized.graph, PROBABILITIES)
