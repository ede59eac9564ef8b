"""Changes to a converted TFLite file that the converter itself cannot be told to make."""

from __future__ import annotations

from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from cxr_edge.errors import ArtifactError


def _float_softmax(model: Any) -> None:
    """Turn int8 softmax -> dequantize into dequantize -> float softmax.

    The converter quantizes a softmax whose input is int8; its output step of 1/256 would tie close classes.
    """
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    softmax, dequantize = graph.operators[-2:]
    found = (codes[softmax.opcodeIndex], codes[dequantize.opcodeIndex])
    if found != (schema.BuiltinOperator.SOFTMAX, schema.BuiltinOperator.DEQUANTIZE):
        raise ArtifactError("the converted int8 model does not end in softmax and dequantize")
    for field in ("opcodeIndex", "builtinOptionsType", "builtinOptions"):
        first, second = getattr(softmax, field), getattr(dequantize, field)
        setattr(softmax, field, second)
        setattr(dequantize, field, first)
    between = graph.tensors[softmax.outputs[0]]
    between.type = schema.TensorType.FLOAT32
    between.quantization = None


def _rename_ends(model: Any, image: str, probabilities: str) -> None:
    """Give the tensors themselves the contract's names, for runtimes that do not know signatures."""
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = image
    graph.tensors[graph.outputs[0]].name = probabilities


def finish(content: bytes, image: str, probabilities: str, int8: bool) -> bytes:
    """A converted TFLite file with the contract's names and, if it is int8, with its softmax in float."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    _rename_ends(model, image, probabilities)
    if int8:
        _float_softmax(model)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
