"""A float ONNX file from the float32 TFLite file, by tf2onnx."""

from __future__ import annotations

import logging
import tempfile

import onnx

from cxr_edge.artifacts.contract import ANY, HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.exporting.lowering import IR_VERSION


def float_onnx(tflite: bytes, half: bool, opset: int, batch: int | None) -> onnx.ModelProto:
    """A float32 ONNX model; with `half`, weights and computation are float16 and the contract's ends stay as they are.

    Args:
        tflite: the float32 TFLite file, in which batch norms are folded; tf2onnx alone would leave them in.
        half: whether to convert to float16.
        opset: of the operators.
        batch: the only N that the file takes; None for any.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    converted: onnx.ModelProto
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(tflite)
        file.flush()
        converted, _ = tf2onnx.convert.from_tflite(file.name, opset=opset)
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        converted = convert_float_to_float16(converted, keep_io_types=True)
    name_ends(converted, batch)
    converted.ir_version = IR_VERSION
    onnx.checker.check_model(converted, full_check=True)
    return converted


def name_ends(model: onnx.ModelProto, batch: int | None) -> None:
    """Give the graph's input and outputs the contract's names and its N."""
    (image,), (probabilities, *others) = model.graph.input, model.graph.output
    renamed = {image.name: IMAGE, probabilities.name: PROBABILITIES, **{value.name: HEATMAP for value in others}}
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    for value in (image, probabilities, *others):
        value.name = renamed[value.name]
        if batch is None:
            value.type.tensor_type.shape.dim[0].dim_param = ANY
        else:
            value.type.tensor_type.shape.dim[0].dim_value = batch
