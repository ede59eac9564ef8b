"""A TFLite flatbuffer as plain data: its tensors, their quantization, and its operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError

_DTYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "INT32": "int32", "UINT8": "uint8", "INT8": "int8",
           "INT64": "int64", "BOOL": "bool"}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """`data` is None for activations. `scales` and `zero_points` are empty for tensors that are not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[Any] | None
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]

    @property
    def quantization(self) -> tuple[float, int]:
        """Scale and zero point of a tensor quantized as a whole. Raises ArtifactError when it is not."""
        if len(self.scales) != 1:
            raise ArtifactError(f"tensor {self.name}: not quantized per tensor")
        return float(self.scales[0]), int(self.zero_points[0])


@dataclass(frozen=True)
class Operator:
    """`options` is the flatbuffer's options table (`None` for an operator that has none)."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class TFLiteFile:
    """The main subgraph of a model. Tensors are named by their index."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def _name_of(enumeration: type, value: int) -> str:
    return next((name for name, number in vars(enumeration).items() if number == value), f"unknown ({value})")


def _array(values: Any, dtype: Any) -> NDArray[Any]:
    return np.array([] if values is None else values, dtype=dtype)


def read_tflite(content: bytes) -> TFLiteFile:
    """Parse a TFLite model; a zip appended to it is not looked at.

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
        tensors = []
        for tensor in graph.tensors:
            raw = model.buffers[tensor.buffer].data
            shape = tuple(int(size) for size in _array(tensor.shape, np.int64))
            kind = _name_of(schema.TensorType, tensor.type)
            dtype = _DTYPES.get(kind, kind)
            data = None
            if raw is not None and len(raw) and kind in _DTYPES:
                data = np.asarray(raw, dtype=np.uint8).view(dtype).reshape(shape)
            quantization = tensor.quantization
            tensors.append(
                Tensor(
                    name=tensor.name.decode(),
                    shape=shape,
                    dtype=dtype,
                    data=data,
                    scales=_array(quantization and quantization.scale, np.float32),
                    zero_points=_array(quantization and quantization.zeroPoint, np.int64),
                )
            )
        operators = []
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = _name_of(schema.BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))
            operators.append(
                Operator(
                    kind,
                    tuple(int(index) for index in operator.inputs),
                    tuple(int(index) for index in operator.outputs),
                    operator.builtinOptions,
                )
            )
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(f"a damaged TFLite file ({error})") from None
    return TFLiteFile(
        tuple(tensors),
        tuple(operators),
        tuple(int(index) for index in graph.inputs),
        tuple(int(index) for index in graph.outputs),
    )
