"""The structure of a TFLite file, whose offsets its runtime would follow unchecked."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_edge.artifacts.contract import ANY, TensorSpec
from cxr_edge.structure.flatbuffer import Buffer, Table, number_at
from cxr_edge.structure.graph import MAX_NODES, MAX_RANK, GraphStructure, elements_of, require

#: Operators from schema_generated.h allowed in an artifact: arithmetic without state, files or control flow.
OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE",
    9: "FULLY_CONNECTED", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU", 21: "RELU6", 22: "RESHAPE",
    25: "SOFTMAX", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE", 40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE",
    45: "STRIDED_SLICE", 47: "EXP", 53: "CAST", 55: "MAXIMUM", 57: "MINIMUM", 65: "SLICE", 70: "EXPAND_DIMS",
    74: "SUM", 77: "SHAPE", 81: "REDUCE_PROD", 82: "REDUCE_MAX", 83: "PACK", 114: "QUANTIZE",
}  # fmt: skip
_TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "int8": 1}
_MODEL_CODES, _MODEL_GRAPHS, _MODEL_BUFFERS, _MODEL_EXTERNAL = 1, 2, 4, (8, 9)
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_SHAPE, _TYPE, _NAME, _OPEN_SHAPE = 0, 1, 3, 7
_MAX_GRAPHS, _MAX_CODES, _MAX_ENDS, _MAX_CHANNELS = 16, 1000, 64, 1 << 20


def tflite_structure(data: Buffer) -> GraphStructure:
    """The structure of a TFLite file's content. Raises ValueError if it is damaged or exceeds a limit."""
    require(bytes(data[4:8]) == b"TFL3", "not a TFLite file")
    model = Table(data, number_at(data, 0, "u4"))
    require(all(model.vector(field, 4)[1] == 0 for field in _MODEL_EXTERNAL), "weights in another file")
    codes = [_code(code) for code in model.tables(_MODEL_CODES, _MAX_CODES)]
    buffers = [_buffer_bytes(buffer, len(data)) for buffer in model.tables(_MODEL_BUFFERS, MAX_NODES)]
    graphs = model.tables(_MODEL_GRAPHS, _MAX_GRAPHS)
    require(bool(graphs), "no graph")
    used: set[str] = set()
    tensors: list[Table] = []
    most_tensors = most_operators = MAX_NODES
    for graph in reversed(graphs):
        # The main graph is processed last, so its tensors are the ones kept. The limits hold for all graphs together:
        # graphs may share their content.
        tensors = graph.tables(_GRAPH_TENSORS, most_tensors)
        most_tensors -= len(tensors)
        for tensor in tensors:
            _require_sound(tensor, buffers)
        operators = graph.tables(_GRAPH_OPERATORS, most_operators)
        most_operators -= len(operators)
        for operator in operators:
            used.add(_operator(operator, codes, len(tensors)))
        for field in (_GRAPH_INPUTS, _GRAPH_OUTPUTS):
            _indices(graph, field, len(tensors), 0)
    return GraphStructure(
        tuple(_spec(tensors[index]) for index in graphs[0].numbers(_GRAPH_INPUTS, "i4", _MAX_ENDS)),
        tuple(_spec(tensors[index]) for index in graphs[0].numbers(_GRAPH_OUTPUTS, "i4", _MAX_ENDS)),
        frozenset(used),
        frozenset(used.difference(OPERATORS.values())),
    )


def _code(code: Table) -> str:
    if custom := code.text(1):
        return f"custom {custom[:60]}"
    # Old files have the code in an 8-bit field, new ones in both fields.
    number = max(code.number(0, "i1"), code.number(3, "i4"))
    return OPERATORS.get(number, f"number {number}")


def _buffer_bytes(buffer: Table, size: int) -> int:
    """The size of a buffer in bytes, whether inline or further back in the file."""
    offset, length = buffer.number(1, "u8"), buffer.number(2, "u8")
    if offset > 1:
        require(offset + length <= size, "a buffer reaches beyond the end")
        return length
    return buffer.vector(0, 1)[1]


def _spec(tensor: Table) -> TensorSpec:
    sizes = tensor.numbers(_OPEN_SHAPE, "i4", MAX_RANK) or tensor.numbers(_SHAPE, "i4", MAX_RANK)
    return TensorSpec(tensor.text(_NAME), _type(tensor), tuple(ANY if size < 0 else size for size in sizes))


def _type(tensor: Table) -> str:
    number = tensor.number(_TYPE, "i1")
    return _TYPES.get(number, f"type {number}")


def _require_sound(tensor: Table, buffers: Sequence[int]) -> None:
    """Raises ValueError. Keeps no name: tensors may share one, of which copies would fill the memory."""
    name, kind, buffer = tensor.text(_NAME), _type(tensor), tensor.number(2, "u4")
    shape = tensor.numbers(_SHAPE, "i4", MAX_RANK)
    require(tensor.table(6) is None, f"{name[:60]} is sparse")
    require(tensor.number(10, "u4") == 0, "weights in another file")
    require(buffer < len(buffers), f"the buffer of {name[:60]} is number {buffer} of {len(buffers)}")
    elements = elements_of(shape, name)
    if buffers[buffer] and kind in _BYTES:
        require(buffers[buffer] == elements * _BYTES[kind], f"{name[:60]} has {buffers[buffer]} bytes for {shape}")
    if (quantization := tensor.table(4)) is not None:
        scales = quantization.vector(2, 4)[1]
        zero_points, axis = quantization.vector(3, 8)[1], quantization.number(6, "i4")
        require(max(scales, zero_points) <= _MAX_CHANNELS, f"the quantization of {name[:60]} has {scales} scales")
        if scales > 1:
            fits = 0 <= axis < len(shape) and shape[axis] == scales
            require(fits, f"the quantization of {name[:60]} has {scales} scales for {shape}")
    elements_of(tensor.numbers(_OPEN_SHAPE, "i4", MAX_RANK), name)


def _operator(operator: Table, codes: Sequence[str], tensors: int) -> str:
    """The kind of an operator, after checking that its tensors exist."""
    code = operator.number(0, "u4")
    require(code < len(codes), f"an operator has code {code} of {len(codes)}")
    # An omitted optional input is -1.
    for field, least in ((1, -1), (2, 0), (8, 0)):
        _indices(operator, field, tensors, least)
    operator.table(4)
    operator.vector(5, 1)
    return codes[code]


def _indices(table: Table, field: int, tensors: int, least: int) -> None:
    numbers = table.numbers(field, "i4", _MAX_ENDS)
    fits = not numbers or (min(numbers) >= least and max(numbers) < tensors)
    require(fits, f"tensors {numbers[:5]} of {tensors}")
