"""The structure of an ONNX file, without the onnx package, which a device does not have."""

from __future__ import annotations

from collections.abc import Iterator

from cxr_edge.artifacts.contract import ANY, TensorSpec
from cxr_edge.artifacts.protobuf import Buffer, Field, Message
from cxr_edge.structure.graph import MAX_NODES, MAX_RANK, GraphStructure, elements_of, require

#: Operators allowed in an artifact: arithmetic without state, files, control flow or sizes that depend on values.
OPERATORS = frozenset({
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "DequantizeLinear", "Div",
    "Exp", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "Identity", "Log", "MatMul", "Max", "MaxPool", "Min",
    "Mul",
    "Pad", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceProd", "ReduceSum",
    "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip
#: Members of the enumeration DataType: NumPy's name of a type, and the bytes per value.
_TYPES = {
    1: ("float32", 4), 2: ("uint8", 1), 3: ("int8", 1), 4: ("uint16", 2), 5: ("int16", 2), 6: ("int32", 4),
    7: ("int64", 8), 9: ("bool", 1), 10: ("float16", 2), 11: ("float64", 8),
}  # fmt: skip
# Field numbers, by message.
_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15
_OP_TYPE, _ATTRIBUTE, _DOMAIN = 4, 5, 7
_A_TENSOR, _A_GRAPH, _TENSORS, _GRAPHS, _A_SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
_DIMS, _DATA_TYPE, _TENSOR_NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14


def onnx_structure(data: Buffer) -> GraphStructure:
    """The structure of an ONNX file's content. Raises ValueError if it is damaged or exceeds a limit."""
    model = Message(data, 0, len(data))
    graphs = []
    for field in model.fields():
        require(field.number not in (_MODEL_TRAINING, _MODEL_FUNCTIONS), "functions or a training in it")
        if field.number == _MODEL_GRAPH:
            graphs.append(model.inside(field))
    require(len(graphs) == 1, f"{len(graphs)} graphs")
    return _graph(graphs[0])


def _graph(graph: Message) -> GraphStructure:
    used: set[str] = set()
    constants: set[str] = set()
    ends: dict[int, list[TensorSpec]] = {_INPUT: [], _OUTPUT: []}
    for count, field in enumerate(graph.fields()):
        require(count < MAX_NODES, f"more than {MAX_NODES} nodes and constants")
        require(field.number != _SPARSE, "a sparse constant")
        if field.number == _NODE:
            used.add(_node(graph.inside(field)))
        elif field.number == _INITIALIZER:
            constants.add(_tensor(graph.inside(field)))
        elif field.number in ends:
            ends[field.number].append(_end(graph.inside(field)))
    require(bool(used), "no operators")
    # Old files repeat their constants among the inputs.
    inputs = tuple(end for end in ends[_INPUT] if end.name not in constants)
    return GraphStructure(inputs, tuple(ends[_OUTPUT]), frozenset(used), frozenset(used - OPERATORS))


def _node(node: Message) -> str:
    """The kind of a node, after checking that its attributes hold no graph and no external tensor."""
    kind = domain = ""
    for field in node.fields():
        if field.number == _OP_TYPE:
            kind = node.text(field)
        elif field.number == _DOMAIN:
            domain = node.text(field)
        elif field.number == _ATTRIBUTE:
            for value in node.inside(field).fields():
                require(value.number not in (_A_GRAPH, _GRAPHS), f"{kind[:60]} has a graph of its own")
                require(value.number not in (_A_SPARSE, _SPARSES), f"{kind[:60]} has a sparse tensor")
                if value.number in (_A_TENSOR, _TENSORS):
                    _tensor(node.inside(value))
    return kind[:60] if domain in ("", "ai.onnx") else f"{domain[:60]}.{kind[:60]}"


def _tensor(tensor: Message) -> str:
    """The name of a tensor, after checking that its values are in the file and match its shape."""
    name, kind, raw = "", 0, None
    shape: list[int] = []
    for field in tensor.fields():
        outside = field.number == _EXTERNAL or (field.number == _LOCATION and field.value)
        require(not outside, "weights in another file, which has no hash")
        if field.number == _DIMS:
            shape += tensor.varints(field, MAX_RANK)
            require(len(shape) <= MAX_RANK, f"a tensor of more than {MAX_RANK} dimensions")
        elif field.number == _DATA_TYPE:
            kind = field.value
        elif field.number == _TENSOR_NAME:
            name = tensor.text(field)
        elif field.number == _RAW:
            raw = field.end - field.start
    elements = elements_of(shape, name)
    if raw is not None and kind in _TYPES:
        require(raw == elements * _TYPES[kind][1], f"{name[:60]} has {raw} bytes for {shape}")
    return name


def _end(value: Message) -> TensorSpec:
    """An input or output of the graph: a ValueInfoProto with a TypeProto, which has a tensor type with a shape."""
    name, kind = "", 0
    shape: list[int | str] = []
    for field in value.fields():
        if field.number == 1:
            name = value.text(field)
        elif field.number == 2:
            for tensor_type in value.inside(field).each(1):
                for part in tensor_type.fields():
                    if part.number == 1:
                        kind = part.value
                    elif part.number == 2:
                        for size in tensor_type.inside(part).each(1):
                            require(len(shape) < MAX_RANK, f"{name[:60]} has more than {MAX_RANK} dimensions")
                            shape.append(_size(size))
    elements_of([size for size in shape if isinstance(size, int)], name)
    return TensorSpec(name, _TYPES.get(kind, (f"type {kind}", 0))[0], tuple(shape))


def _size(dimension: Message) -> int | str:
    fields: Iterator[Field] = dimension.fields()
    return next((field.value for field in fields if field.number == 1), ANY)
