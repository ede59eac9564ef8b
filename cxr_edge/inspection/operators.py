"""Multiply-accumulates of an artifact, in integers and in float, and its weights by type."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.tflite_file import TFLiteFile, read_tflite
from cxr_edge.errors import ArtifactError

#: Share of the multiply-accumulates that an artifact called int8 must do in integers.
INT8_SHARE = 0.99


@dataclass
class Computation:
    """Counts over one inference of one image."""

    integer_macs: int = 0
    float_macs: int = 0
    #: Names of the operators that multiply in float.
    float_operators: list[str] = field(default_factory=list)
    integer_convolutions: int = 0
    float_convolutions: int = 0
    weight_bytes: Counter[str] = field(default_factory=Counter)
    #: Of kernels alone, not of biases and scales.
    float_kernel_bytes: int = 0
    operators: Counter[str] = field(default_factory=Counter)

    @property
    def integer_weights(self) -> float:
        """Share of the file's weight bytes that are int8 (biases of int32, which every int8 file has, aside)."""
        small = self.weight_bytes["int8"] + self.weight_bytes["uint8"]
        total = small + sum(size for dtype, size in self.weight_bytes.items() if dtype.startswith("float"))
        return small / total if total else 0.0

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates done in integers."""
        total = self.integer_macs + self.float_macs
        return self.integer_macs / total if total else 0.0

    def verdict(self, quantization: Quantization) -> str:
        """int8, mixed, float, or float despite its name.

        The weights in the file count too: ONNX Runtime can quantize float weights when it loads them, which makes
        neither the file small nor another runtime fast.
        """
        if self.integer_share >= INT8_SHARE and self.integer_weights >= 0.9:
            return "int8"
        if self.integer_share > 0.01 and self.integer_weights > 0.1:
            return "mixed"
        return "float despite its name" if quantization.is_integer else "float"

    def count(self, name: str, macs: int, integer: bool, convolution: bool) -> None:
        """Add an operator that multiplies."""
        if convolution and integer:
            self.integer_convolutions += 1
        elif convolution:
            self.float_convolutions += 1
        if integer:
            self.integer_macs += macs
        elif macs:
            self.float_macs += macs
            self.float_operators.append(name)


def computation_of_tflite(model: TFLiteFile) -> Computation:
    """Counts of a TFLite file: integer where input, kernel and output all are int8."""
    found = Computation()
    for tensor in model.tensors:
        if tensor.data is not None:
            found.weight_bytes[tensor.dtype] += tensor.data.nbytes
            if tensor.dtype == "float32" and tensor.data.ndim > 1:
                found.float_kernel_bytes += tensor.data.nbytes
    for operator in model.operators:
        found.operators[operator.kind] += 1
        if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        source, kernel = (model.tensors[index] for index in operator.inputs[:2])
        target = model.tensors[operator.outputs[0]]
        # A kernel holds, a place of the output: all its values (depthwise, fully connected), or a slice a channel.
        places = math.prod(target.shape[1:3]) if len(target.shape) == 4 else 1
        macs = places * math.prod(kernel.shape)
        integer = all(tensor.dtype == "int8" for tensor in (source, kernel, target))
        found.count(target.name.removesuffix("_float"), macs, integer, operator.kind != "FULLY_CONNECTED")
    return found


_INTEGER_KINDS = {"QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
_KERNEL_INPUT = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3, "ConvInteger": 1, "MatMulInteger": 1}
_FLOAT_KINDS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "Gemm": 1, "FusedGemm": 1, "MatMul": 1}


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
        # Level 2: level 3 replaces float convolutions by ones in a layout of this CPU.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ArtifactError(f"{path}: ONNX Runtime cannot load it ({str(error)[:200]})") from None
        return onnx.load(options.optimized_model_filepath)


def computation_of_onnx(path: Path) -> Computation:
    """Counts of an ONNX file as ONNX Runtime runs it, after its own optimization on this CPU."""
    import numpy as np
    import onnx

    model = _optimized(path)
    found = Computation()
    shapes = {initializer.name: tuple(initializer.dims) for initializer in model.graph.initializer}
    original = onnx.load(str(path))
    for initializer in original.graph.initializer:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(initializer.data_type))
        size = math.prod(initializer.dims) * dtype.itemsize
        found.weight_bytes[dtype.name] += size
        if dtype.name == "float32" and len(initializer.dims) > 1:
            found.float_kernel_bytes += size
    places = _output_places(original)
    for node in model.graph.node:
        found.operators[node.op_type] += 1
        if node.op_type in ("Cast", "DequantizeLinear"):
            # A kernel that is converted on its way keeps its shape.
            shapes[node.output[0]] = shapes.get(node.input[0], ())
        position = _KERNEL_INPUT.get(node.op_type, _FLOAT_KINDS.get(node.op_type))
        if position is None:
            continue
        kernel = shapes.get(node.input[position], ())
        # ONNX Runtime names some tensors anew and keeps the names of nodes, which other tools leave empty.
        known = next((name for name in (node.name, node.output[0]) if name in places), None)
        if len(kernel) == 4 and known is None:
            raise ArtifactError(
                f"{path}: the size of {node.output[0]}, which {node.op_type} computes, cannot be inferred"
            )
        macs = math.prod(kernel) * places.get(known or "", 1)
        name = node.name or node.output[0]
        found.count(name, macs, node.op_type in _INTEGER_KINDS, "Conv" in node.op_type)
    return found


def _output_places(model: Any) -> dict[str, int]:
    """Height times width of every four-dimensional tensor, and under the name of the node that yields it."""
    import onnx

    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(model)
    places = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if len(sizes) == 4:
            places[value.name] = sizes[2] * sizes[3]
    for node in model.graph.node:
        if node.name and node.output[0] in places:
            places[node.name] = places[node.output[0]]
    return places


def computation_of(path: Path, kind: str) -> Computation:
    """Counts of an artifact. Raises ArtifactError, and ModuleNotFoundError without the package to read its format."""
    if kind == "onnx":
        return computation_of_onnx(path)
    try:
        return computation_of_tflite(read_tflite(path.read_bytes()))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
