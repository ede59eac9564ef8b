"""The computation of an ONNX file as ONNX Runtime runs it, after its own optimization on this CPU."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cxr_edge.errors import ArtifactError
from cxr_edge.inspection.computation import Computation, MultiplyingOperator

#: Input position of the kernel in ONNX Runtime's operators that have one, in integers and in float.
_INTEGER_KERNELS = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1}
_FLOAT_KERNELS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "Gemm": 1, "FusedGemm": 1, "MatMul": 1}
_KERNELS = {**_INTEGER_KERNELS, **_FLOAT_KERNELS}


class _Places(NamedTuple):
    """Height times width of every four-dimensional tensor, by its name, and by the name of the node that outputs it.

    Kept separately: a node may have the same name as another node's output.
    """

    of_nodes: dict[str, int]
    of_tensors: dict[str, int]


def computation_of_onnx(path: Path) -> Computation:
    """Count the computation of an ONNX file.

    Raises:
        ArtifactError: ONNX Runtime cannot load it, or the size of an operator's output cannot be inferred.
        ModuleNotFoundError: onnx or onnxruntime is not installed.
    """
    import onnx

    optimized, original = _optimized(path), onnx.load(str(path))
    weight_bytes: Counter[str] = Counter()
    kernel_bytes: Counter[str] = Counter()
    for tensor in _constants(original.graph):
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        size = math.prod(tensor.dims) * dtype.itemsize
        weight_bytes[dtype.name] += size
        if len(tensor.dims) > 1:
            kernel_bytes[dtype.name] += size
    return Computation(
        multiplying=tuple(_multiplying(optimized, _output_places(original), path)),
        operators=dict(Counter(node.op_type for node in optimized.graph.node).most_common()),
        weight_bytes=dict(weight_bytes),
        kernel_bytes=dict(kernel_bytes),
    )


def _constants(graph: Any) -> Iterator[Any]:
    """The tensors in the file: initializers, and values of Constant nodes, which some tools write in their place."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.name == "value")


def _optimized(path: Path) -> Any:
    """The graph that ONNX Runtime runs, after its own optimization, in its portable form."""
    import onnx
    import onnxruntime

    from cxr_edge.runtimes.onnx_runtime import SIGNED_ACTIVATIONS

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 4
        options.add_session_config_entry(*SIGNED_ACTIVATIONS)
        # Level 2: level 3 replaces float convolutions with ones in a CPU-specific layout.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0)
        except Exception as error:
            raise ArtifactError(f"{path}: ONNX Runtime cannot load it ({str(error)[:200]})") from None
        return onnx.load(options.optimized_model_filepath)


def _multiplying(model: Any, places: _Places, path: Path) -> Iterator[MultiplyingOperator]:
    """The operators with a kernel, given the number of places of each tensor and node of the file at `path`."""
    shapes = {initializer.name: tuple(initializer.dims) for initializer in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Cast", "DequantizeLinear"):
            # A kernel that is converted first keeps its shape.
            shapes[node.output[0]] = shapes.get(node.input[0], ())
        if node.op_type not in _KERNELS:
            continue
        kernel = shapes.get(node.input[_KERNELS[node.op_type]], ())
        # ONNX Runtime renames some tensors and keeps the names of nodes, which other tools leave empty.
        known = places.of_nodes.get(node.name, places.of_tensors.get(node.output[0]))
        if len(kernel) == 4 and known is None:
            raise ArtifactError(
                f"{path}: the size of {node.output[0]}, which {node.op_type} computes, cannot be inferred"
            )
        yield MultiplyingOperator(
            node.name or node.output[0],
            math.prod(kernel) * (known or 1),
            is_integer=node.op_type in _INTEGER_KERNELS,
            is_convolution="Conv" in node.op_type,
        )


def _output_places(model: Any) -> _Places:
    import onnx

    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model)
    places = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if len(sizes) == 4:
            places[value.name] = sizes[2] * sizes[3]
    nodes = {node.name: places[node.output[0]] for node in model.graph.node if node.name and node.output[0] in places}
    return _Places(nodes, places)
