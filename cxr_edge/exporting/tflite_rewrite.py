"""Changes to a converted TFLite file that the converter has no option for."""

from __future__ import annotations

import copy
import re
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError
from cxr_edge.quantization.graph import Graph, Node

_KINDS = schema.BuiltinOperator
_WITH_KERNEL = (_KINDS.CONV_2D, _KINDS.DEPTHWISE_CONV_2D, _KINDS.FULLY_CONNECTED)


class _Model:
    """A flatbuffer's objects, with the operations to change them."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        self.graph = self.model.subgraphs[0]

    def kind(self, operator: Any) -> int:
        code = self.model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def tensor(self, index: int) -> Any:
        return self.graph.tensors[index]

    def packed(self, original_size: int) -> bytes:
        builder = flatbuffers.Builder(original_size + 4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def add_constant(self, tensor: Any, data: NDArray[np.float32]) -> None:
        """Make a tensor a float32 constant."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        tensor.buffer = len(self.model.buffers) - 1
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None

    def float_twin(self, index: int) -> int:
        """Add a float32 tensor with the shape of another; returns its index."""
        twin = copy.copy(self.tensor(index))
        twin.type, twin.quantization = schema.TensorType.FLOAT32, None
        twin.name = _text(twin.name) + "_float"
        self.graph.tensors.append(twin)
        return len(self.graph.tensors) - 1

    def conversion(self, kind: int, source: int, target: int) -> Any:
        """An operator that quantizes or dequantizes."""
        codes = [self.kind(operator) for operator in self.graph.operators]
        if kind in codes:
            index = self.graph.operators[codes.index(kind)].opcodeIndex
        else:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = 2
            self.model.operatorCodes.append(code)
            index = len(self.model.operatorCodes) - 1
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, [source], [target]
        return operator


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _float_softmax(model: _Model) -> None:
    """If the model ends in int8 softmax -> dequantize, turn that into dequantize -> float softmax.

    The converter quantizes a softmax whose input is int8; its output step of 1/256 would make close classes tie.
    """
    softmax = next(operator for operator in model.graph.operators if model.kind(operator) == _KINDS.SOFTMAX)
    readers = [operator for operator in model.graph.operators if softmax.outputs[0] in operator.inputs]
    if [model.kind(operator) for operator in readers] != [_KINDS.DEQUANTIZE]:
        # The last layer is left in float, or the output is int8.
        return
    (dequantize,) = readers
    for field in ("opcodeIndex", "builtinOptionsType", "builtinOptions"):
        first, second = getattr(softmax, field), getattr(dequantize, field)
        setattr(softmax, field, second)
        setattr(dequantize, field, first)
    between = model.tensor(softmax.outputs[0])
    between.type = schema.TensorType.FLOAT32
    between.quantization = None


def _relu_into_sums(model: _Model) -> None:
    """Turn a ReLU after a sum into a second sum with the ReLU fused.

    XNNPACK has no standalone int8 ReLU: each would end one delegated part of the graph and begin another. A fused
    activation costs nothing, and is rounded once, directly from the sum.
    """
    producers = {operator.outputs[0]: operator for operator in model.graph.operators}
    for operator in model.graph.operators:
        if model.kind(operator) != _KINDS.RELU:
            continue
        producer = producers[operator.inputs[0]]
        if model.kind(producer) != _KINDS.ADD:
            raise ArtifactError("the converted int8 model has a ReLU that does not follow a sum")
        operator.opcodeIndex = producer.opcodeIndex
        operator.inputs = producer.inputs
        operator.builtinOptionsType = producer.builtinOptionsType
        operator.builtinOptions = copy.copy(producer.builtinOptions)
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def _nodes_of_operators(model: _Model, graph: Graph) -> list[tuple[Any, Node]]:
    """Each computing operator with its graph node; the converter keeps the node's name within a tensor's name."""
    nodes = {node.name: node for node in graph.nodes}
    pairs = []
    for operator in model.graph.operators:
        kind = model.kind(operator)
        if kind in _WITH_KERNEL:
            name, operation = _text(model.tensor(operator.inputs[1]).name), "(?:Conv2D|depthwise|MatMul)"
        elif kind == _KINDS.ADD:
            name, operation = _text(model.tensor(operator.outputs[0]).name), "(?:add|Relu)"
        else:
            continue
        match = re.search(rf"deployment/(?:quant_)?([^/;]+)/{operation}", name)
        if match is None or match[1] not in nodes:
            raise ArtifactError(f"the converted model has an operator of unknown origin ({name})")
        pairs.append((operator, nodes[match[1]]))
    return pairs


_LAYOUTS = {"conv": (3, 0, 1, 2), "dense": (1, 0)}


def _into_float(model: _Model, operator: Any, node: Node) -> None:
    """Compute one int8 operator in float: dequantize its inputs, restore its kernel, quantize its outputs.

    The converter quantizes every operator between quantized tensors, without exception.
    """
    before, inputs = [], list(operator.inputs)
    for position, source in enumerate(inputs[: 2 if node.kernel is None else 1]):
        if model.tensor(source).type != schema.TensorType.FLOAT32:
            inputs[position] = model.float_twin(source)
            before.append(model.conversion(_KINDS.DEQUANTIZE, source, inputs[position]))
    if node.kernel is not None:
        kernel = node.kernel[None] if node.kind == "depthwise" else node.kernel.transpose(_LAYOUTS[node.kind])
        model.add_constant(model.tensor(inputs[1]), kernel)
        if inputs[2] >= 0:
            # Several operators may share a bias of zeros.
            inputs[2] = model.float_twin(inputs[2])
            bias = np.zeros(kernel.shape[-1], np.float32) if node.bias is None else node.bias
            model.add_constant(model.tensor(inputs[2]), bias)
    target, after = operator.outputs[0], []
    operator.inputs = inputs
    if model.tensor(target).type != schema.TensorType.FLOAT32:
        result = model.float_twin(target)
        operator.outputs = [result]
        after = [model.conversion(_KINDS.QUANTIZE, result, target)]
    place = next(index for index, other in enumerate(model.graph.operators) if other is operator)
    model.graph.operators[place : place + 1] = [*before, operator, *after]


def finish_float(content: bytes, probabilities: str) -> bytes:
    """A converted float TFLite file with the contract's names on its tensors, for runtimes without signatures."""
    model = _Model(content)
    _name_ends(model, probabilities)
    return model.packed(len(content))


def _name_ends(model: _Model, probabilities: str) -> None:
    """Name inputs and outputs as in the signature, and put the probabilities first."""
    (signature,) = model.model.signatureDefs
    for end in (*signature.inputs, *signature.outputs):
        model.tensor(end.tensorIndex).name = end.name
    names = {end.tensorIndex: _text(end.name) for end in signature.outputs}
    model.graph.outputs = sorted(names, key=lambda index: names[index] != probabilities)


def finish_int8(content: bytes, graph: Graph, probabilities: str) -> bytes:
    """A converted int8 TFLite file, finished for the artifact.

    It gets the contract's names on its inputs and outputs, the graph's names on its layers' outputs, softmax in float
    (unless the output itself is int8), no standalone ReLU, and no integers where the graph says float.
    """
    model = _Model(content)
    _float_softmax(model)
    _relu_into_sums(model)
    for operator, node in _nodes_of_operators(model, graph):
        # The last dense layer has the name that the contract gives its softmax.
        model.tensor(operator.outputs[0]).name = node.name if node.name != probabilities else "logits"
        if node.in_float and any(
            model.tensor(index).type != schema.TensorType.FLOAT32 for index in (operator.inputs[1], operator.outputs[0])
        ):
            _into_float(model, operator, node)
    _name_ends(model, probabilities)
    return model.packed(len(content))
