"""A float ONNX file from the float32 TFLite file, by tf2onnx."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections import Counter
from pathlib import Path

import onnx

from cxr_edge.artifacts.contract import ANY, HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.lowering.builder import IR_VERSION


def converted_by_tf2onnx(tflite: bytes, opset: int) -> onnx.ModelProto:
    """The float32 TFLite file as tf2onnx converts it; its batch norms are already folded, which tf2onnx would not do
    itself.
    """
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    # Otherwise it copies the whole model before each optimization, to be able to skip one that fails, which takes two
    # thirds of the conversion time.
    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"
    converted: onnx.ModelProto
    with tempfile.TemporaryDirectory() as folder:
        # Closed before it is read: Windows opens no file twice that is removed when it is closed.
        path = Path(folder) / "model.tflite"
        path.write_bytes(tflite)
        converted, _ = tf2onnx.convert.from_tflite(str(path), opset=opset)
    return converted


def float_onnx(source: onnx.ModelProto, half: bool, batch: int | None) -> onnx.ModelProto:
    """A float32 ONNX model; with `half`, weights and computation are float16 and the contract's inputs and outputs keep
    their types.

    Args:
        source: from `converted_by_tf2onnx`; not modified.
        half: whether to convert to float16.
        batch: the only N that the file accepts; None for any.
    """
    converted = onnx.ModelProto()
    converted.CopyFrom(source)
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        converted = convert_float_to_float16(converted, keep_io_types=True)
    name_ends(converted, batch)
    number_names(converted.graph)
    converted.ir_version = IR_VERSION
    onnx.checker.check_model(converted, full_check=True)
    return converted


def name_ends(model: onnx.ModelProto, batch: int | None) -> None:
    """Give the graph's input and outputs the contract's names and N."""
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


def number_names(graph: onnx.GraphProto) -> None:
    """Number names by their order in the graph: equal exports are equal bytes.

    tf2onnx keeps counting across all conversions of a process, and iterates over sets of strings, whose order changes
    between processes.
    """
    numbered = {value.name: value.name for value in (*graph.input, *graph.output)}
    nodes: Counter[str] = Counter()
    tensors = Counter(numbered.values())

    def next_of(counts: Counter[str], name: str) -> str:
        stem = re.sub(r"__\d+", "", name)
        counts[stem] += 1
        return stem if counts[stem] == 1 else f"{stem}__{counts[stem]}"

    for node in graph.node:
        node.name = next_of(nodes, node.name)
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                # An omitted input has an empty name.
                if name and name not in numbered:
                    numbered[name] = next_of(tensors, name)
                names[index] = numbered.get(name, name)
    for constant in graph.initializer:
        constant.name = numbered[constant.name]
    constants = sorted(graph.initializer, key=lambda constant: constant.name)
    del graph.initializer[:]
    graph.initializer.extend(constants)
    # Both would contain the old names and the name of a temporary file.
    del graph.value_info[:]
    graph.doc_string = ""
