"""Changes to a converted TFLite file that the converter itself cannot be told to make."""

from __future__ import annotations

import copy
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


def _relu_into_sums(model: Any) -> None:
    """Turn a ReLU on a sum into a second sum with the ReLU fused.

    XNNPACK has no int8 ReLU by itself: each would end a delegated part of the graph and begin another. As a fused
    activation it costs nothing, and it is rounded once, straight from the sum.
    """
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    producers = {operator.outputs[0]: operator for operator in graph.operators}
    for operator in graph.operators:
        if codes[operator.opcodeIndex] != schema.BuiltinOperator.RELU:
            continue
        producer = producers[operator.inputs[0]]
        if codes[producer.opcodeIndex] != schema.BuiltinOperator.ADD:
            raise ArtifactError("the converted int8 model has a ReLU on something else than a sum")
        operator.opcodeIndex = producer.opcodeIndex
        operator.inputs = producer.inputs
        operator.builtinOptionsType = producer.builtinOptionsType
        operator.builtinOptions = copy.copy(producer.builtinOptions)
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def _rename_ends(model: Any, image: str, probabilities: str) -> None:
    """Give the tensors themselves the contract's names, for runtimes that do not know signatures."""
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = image
    graph.tensors[graph.outputs[0]].name = probabilities


def finish(content: bytes, image: str, probabilities: str, int8: bool) -> bytes:
    """A converted TFLite file with the contract's names and, if it is int8, with its softmax in float and
    without a ReLU by itself."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    _rename_ends(model, image, probabilities)
    if int8:
        _float_softmax(model)
        _relu_into_sums(model)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
