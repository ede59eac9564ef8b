"""A TFLite flatbuffer as plain data: its tensors, their quantization, and its operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError

#: TFLite's element types that NumPy has, under NumPy's names.
_DTYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "INT32": "int32", "UINT8": "uint8", "INT8": "int8",
           "INT64": "int64", "BOOL": "bool"}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor of the main subgraph.

    Attributes:
        name: as the converter gave it.
        shape: TFLite's, channels last.
        dtype: NumPy's name of the element type, or TFLite's if NumPy has none.
        data: the values of a constant; None for an activation.
        scales: float32, one in all or one per channel; empty for a tensor that is not quantized.
        zero_points: int64, as many as scales.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[Any] | None
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]

    @property
    def is_float(self) -> bool:
        return self.dtype == "float32"

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and zero point of a tensor quantized per tensor. Raises ArtifactError if it is not."""
        if len(self.scales) != 1:
            raise ArtifactError(f"tensor {self.name}: not quantized per tensor")
        return float(self.scales[0]), int(self.zero_points[0])


@dataclass(frozen=True)
class Operator:
    """An operator of the main subgraph.

    Attributes:
        kind: its name in the schema's `BuiltinOperator`, such as CONV_2D.
        inputs: indices of its input tensors; -1 for an omitted optional one.
        outputs: indices of its output tensors.
        options: the flatbuffer's options table, such as `Conv2DOptionsT`; None if it has none.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class TFLiteFile:
    """The main subgraph of a model. `inputs` and `outputs` are indices of `tensors`."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def schema_name(enumeration: type, value: int) -> str:
    """The schema's name for a value of an enumeration, such as SAME of `Padding`."""
    return next((name for name, number in vars(enumeration).items() if number == value), f"unknown ({value})")


def read_tflite(content: bytes) -> TFLiteFile:
    """Parse a TFLite model; an appended zip is ignored.

    Raises:
        ArtifactError: the content is not a TFLite model.
        ModuleNotFoundError: ai-edge-litert, which brings the schema, is not installed.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ArtifactError("not a TFLite file: its identifier is missing")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        graph = model.subgraphs[0]
        return TFLiteFile(
            tuple(_tensor(tensor, model.buffers[tensor.buffer].data) for tensor in graph.tensors),
            tuple(_operator(operator, model.operatorCodes[operator.opcodeIndex]) for operator in graph.operators),
            _indices(graph.inputs),
            _indices(graph.outputs),
        )
    except Exception as error:
        raise ArtifactError(f"a damaged TFLite file ({error})") from None


def _tensor(tensor: Any, buffer: Any) -> Tensor:
    from ai_edge_litert.schema_py_generated import TensorType

    element_type = schema_name(TensorType, tensor.type)
    dtype = _DTYPES.get(element_type, element_type)
    shape = _indices(tensor.shape)
    data = None
    if buffer is not None and len(buffer) and element_type in _DTYPES:
        data = np.asarray(buffer, dtype=np.uint8).view(dtype).reshape(shape)
    quantization = tensor.quantization
    return Tensor(
        name=tensor.name.decode(),
        shape=shape,
        dtype=dtype,
        data=data,
        scales=_array(quantization and quantization.scale, np.float32),
        zero_points=_array(quantization and quantization.zeroPoint, np.int64),
    )


def _operator(operator: Any, code: Any) -> Operator:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    # Old files have the code in an 8-bit field, new ones in both fields.
    kind = schema_name(BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))
    return Operator(kind, _indices(operator.inputs), _indices(operator.outputs), operator.builtinOptions)


def _array(values: Any, dtype: Any) -> NDArray[Any]:
    return np.array([] if values is None else values, dtype=dtype)


def _indices(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in _array(values, np.int64))
