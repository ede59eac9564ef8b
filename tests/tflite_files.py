"""TFLite files of a few operators, written without a converter, and what both runtimes make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import onnxruntime
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto

from cxr_edge.runtimes.onnx_runtime import SIGNED_ACTIVATIONS

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU6 = (getattr(schema.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))


class TFLiteBuilder:
    """Tensors, named by their index, and operators in execution order."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version, self._model.description = 3, "test"
        self._model.buffers, self._model.operatorCodes = [schema.BufferT()], []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        scale: float | Sequence[float] = (),
        zero_point: int = 0,
        channel_axis: int = 0,
        name: str | None = None,
    ) -> int:
        """An activation; quantized if it has a scale, per channel if it has several."""
        tensor = schema.TensorT()
        index = len(self._graph.tensors)
        tensor.name, tensor.shape = name or f"tensor{index}", list(shape)
        tensor.type, tensor.buffer = getattr(schema.TensorType, dtype.upper()), 0
        scales = list(np.atleast_1d(scale))
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [zero_point] * len(scales)
            tensor.quantization.quantizedDimension = channel_axis
        self._graph.tensors.append(tensor)
        return index

    def constant(self, values: ArrayLike, dtype: str = "int8", **quantization: Any) -> int:
        """A tensor with values."""
        data = np.asarray(values, dtype=dtype)
        index = self.tensor(data.shape, dtype, **quantization)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), dtype=np.uint8)
        self._model.buffers.append(buffer)
        self._graph.tensors[index].buffer = len(self._model.buffers) - 1
        return index

    def operator(self, kind: str, inputs: Sequence[int], output: int, options: str | None = None, **values: Any) -> int:
        """Add an operator of the schema's name, with options such as `Conv2DOptions`; its output."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        # The first version with per-channel int8, or int8 at all.
        code.version = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1}.get(kind, 2)
        self._model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for name, value in values.items():
                assert hasattr(operator.builtinOptions, name), name
                setattr(operator.builtinOptions, name, value)
        self._graph.operators.append(operator)
        return output

    def content(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(4096)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class Network(TFLiteBuilder):
    """A file with the contract's ends, around the operators under test.

    They begin at `source`, int8 `[N, H, W, 4]`, whose integers both runtimes compute exactly: a multiple of the grey
    value and an offset per channel, cut to int8. Its scale is 1. What `finish` is given comes out as the heat map.
    """

    CHANNELS = 4

    def __init__(self, height: int = 7, width: int = 6, images: int = 3, symmetric: bool = False) -> None:
        super().__init__()
        self.shape = (images, height, width, self.CHANNELS)
        self.image = self.tensor((images, height, width, 1), "uint8", scale=1.0, name="image")
        grey = self.tensor((images, height, width, 1), scale=1.0, zero_point=-128, name="grey")
        self.operator("QUANTIZE", [self.image], grey, "QuantizeOptions")
        self.grey = grey
        kernel = np.array([1, -1, 2, -2]).reshape(4, 1, 1, 1)
        offsets = [-120, 120, -250, 250]
        self.source_zero_point = 0 if symmetric else 3
        self.source = self.tensor(self.shape, scale=1.0, zero_point=self.source_zero_point, name="source")
        options = {"padding": VALID, "strideH": 1, "strideW": 1}
        if symmetric:
            weights = [self.constant(kernel, "float32"), self.constant(offsets, "float32")]
            self.in_float("CONV_2D", grey, weights, self.source, "Conv2DOptions", **options)
        else:
            # Of even integers: halved for a reduced range, they are exact.
            weights = [self.constant(2 * kernel, scale=0.5), self.constant(np.multiply(2, offsets), "int32", scale=0.5)]
            self.operator("CONV_2D", [grey, *weights], self.source, "Conv2DOptions", **options)

    def activation(self, shape: Sequence[int], scale: float = 1.0, zero_point: int = 0, name: str | None = None) -> int:
        """An int8 tensor of N images."""
        return self.tensor((self.shape[0], *shape), scale=scale, zero_point=zero_point, name=name)

    def floats(self, shape: Sequence[int]) -> int:
        return self.tensor((self.shape[0], *shape), "float32")

    def dequantized(self, index: int) -> int:
        shape = self._graph.tensors[index].shape
        return self.operator("DEQUANTIZE", [index], self.floats(shape[1:]), "DequantizeOptions")

    def in_float(
        self, kind: str, source: int, constants: Sequence[int], target: int, options: str, **values: Any
    ) -> int:
        """An operator left in float between two int8 tensors."""
        result = self.floats(self._graph.tensors[target].shape[1:])
        self.operator(kind, [self.dequantized(source), *constants], result, options, **values)
        return self.operator("QUANTIZE", [result], target, "QuantizeOptions")

    def mean(self, source: int, scale: float = 1.0, zero_point: int = 0, keep: bool = False) -> int:
        """Over height and width."""
        channels = self._graph.tensors[source].shape[-1]
        target = self.activation((1, 1, channels) if keep else (channels,), scale, zero_point)
        return self.operator("MEAN", [source, self.constant([1, 2], "int32")], target, "ReducerOptions", keepDims=keep)

    def reshaped(self, vector: int) -> int:
        """`[N, C]` as `[N, 1, 1, C]`."""
        own = self._graph.tensors[vector]
        shape = (self.shape[0], 1, 1, own.shape[-1])
        scale = own.quantization.scale if own.quantization else ()
        zero_point = own.quantization.zeroPoint[0] if own.quantization else 0
        dtype = "int8" if own.quantization else "float32"
        target = self.tensor(shape, dtype, scale=scale, zero_point=zero_point)
        return self.operator("RESHAPE", [vector, self.constant(shape, "int32")], target, "ReshapeOptions")

    def finish(self, heatmap: int, logits: int | None = None) -> bytes:
        """The file: `heatmap`, dequantized if it is int8, and the softmax of int8 `logits` or of the source's means."""
        if self._graph.tensors[heatmap].type != schema.TensorType.FLOAT32:
            heatmap = self.dequantized(heatmap)
        scores = self.dequantized(self.mean(self.source) if logits is None else logits)
        classes = self._graph.tensors[scores].shape[-1]
        probabilities = self.operator("SOFTMAX", [scores], self.floats((classes,)), "SoftmaxOptions", beta=1.0)
        return self.content([self.image], [probabilities, heatmap])

    def images(self) -> NDArray[np.uint8]:
        """Random grey values."""
        return np.random.default_rng(0).integers(0, 256, (*self.shape[:3], 1), dtype=np.uint8)


def run_tflite(content: bytes, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """A file's outputs in LiteRT."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def run_onnx(model: ModelProto, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """A model's outputs in ONNX Runtime, int8 activations in integers too."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*SIGNED_ACTIVATIONS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[Any]] = session.run(None, {"image": images})
    return outputs
