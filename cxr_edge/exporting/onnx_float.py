"""The deployment graph as a float ONNX file."""

from __future__ import annotations

import logging

import onnx

from cxr_edge.exporting.lowering import IR_VERSION, OPSET
from cxr_edge.exporting.tflite import INPUT, OUTPUT
from cxr_edge.quantization.build import build_graph
from cxr_edge.quantization.graph import Graph
from cxr_edge.training.backend import tf


def float_onnx(graph: Graph, half: bool = False) -> onnx.ModelProto:
    """A float32 ONNX model; with `half`, weights and computation are float16 and the contract's ends stay as they are.

    Batch norms are folded already, which tf2onnx alone would leave in.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model = build_graph(graph).model

    @tf.function  # type: ignore[untyped-decorator]
    def serve(image: tf.Tensor) -> tf.Tensor:
        return tf.identity(model(tf.cast(image, tf.float32), training=False), name=OUTPUT)

    size = graph.image_size
    converted: onnx.ModelProto
    converted, _ = tf2onnx.convert.from_function(
        serve, input_signature=[tf.TensorSpec((None, size, size, 1), tf.uint8, name=INPUT)], opset=OPSET
    )
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        converted = convert_float_to_float16(converted, keep_io_types=True)
    _name_ends(converted)
    converted.ir_version = IR_VERSION
    onnx.checker.check_model(converted, full_check=True)
    return converted


def _name_ends(model: onnx.ModelProto) -> None:
    """Give the graph's input and output the contract's names and its open N."""
    (image,), (probabilities,) = model.graph.input, model.graph.output
    renamed = {image.name: INPUT, probabilities.name: OUTPUT}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    for value in (image, probabilities):
        value.name = renamed[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "N"
