"""Lower an int8 TFLite file to ONNX, integer for integer.

Both files then hold the same weights, scales and zero points. Every operator becomes one dequantize-operate-quantize
group of standard ONNX operators, which ONNX Runtime and OpenVINO fuse into one integer kernel each. The layout is
changed once, at build time: weights are transposed here, and the one-channel input needs a reshape only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.artifacts.contract import HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.artifacts.tflite_file import Operator, Tensor, TFLiteFile, read_tflite
from cxr_edge.errors import ArtifactError

#: Readable by every ONNX Runtime since 1.14.
IR_VERSION = 8


class _Lowering:
    def __init__(self, model: TFLiteFile, flavour: str, batch: int | None) -> None:
        self.model, self.batch = model, batch
        self.symmetric, self.reduced = flavour == "int8-symmetric", flavour == "uint8-reduced"
        # TFLite's activations are int8; the same value as uint8 is 128 more, zero point included.
        self.shift = 128 if flavour.startswith("uint8") else 0
        self.dtype: Any = np.dtype("uint8" if self.shift else "int8")
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.values: dict[int, str] = {}
        self.count = 0
        self.image = -1

    # Building blocks

    def emit(self, kind: str, inputs: list[str], output: str, name: str | None = None, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name or output, **attributes))
        return output

    def layer(self, index: int) -> str:
        """The name of the layer that yields a tensor."""
        return self.tensor(index).name.removesuffix("_float")

    def constant(self, name: str, value: Any) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name

    def scalar(self, index: int) -> str:
        """A float constant of one value."""
        data = self.tensor(index).data
        if data is None or data.size != 1 or not self.is_float(index):
            raise ArtifactError(f"tensor {self.tensor(index).name}: a constant of several values has no lowering")
        return self.constant(f"t{index}", data.reshape(()))

    def tensor(self, index: int) -> Tensor:
        return self.model.tensors[index]

    def is_float(self, index: int) -> bool:
        return self.tensor(index).dtype == "float32"

    def scale_and_zero(self, index: int) -> list[str]:
        scale, zero = self.tensor(index).quantization
        if self.symmetric and zero:
            raise ArtifactError(
                f"tensor {self.tensor(index).name}: its zero point is {zero}; int8-symmetric needs ranges of its own, "
                "and the first convolution in float"
            )
        return [
            self.constant(f"t{index}_scale", np.float32(scale)),
            self.constant(f"t{index}_zero_point", np.array(zero + self.shift, dtype=self.dtype)),
        ]

    def dequantized(self, index: int, value: str | None = None) -> str:
        """The float value of a tensor, or of integers picked from it, for one reader."""
        if self.is_float(index):
            return self.values[index]
        # A dequantize for each reader: the runtimes fuse a group only if it is not shared.
        self.count += 1
        return self.emit(
            "DequantizeLinear",
            [value or self.values[index], *self.scale_and_zero(index)],
            f"t{index}_dequantized{self.count}",
        )

    def quantized(self, value: str, index: int) -> None:
        name = f"t{index}_quantized"
        self.values[index] = self.emit("QuantizeLinear", [value, *self.scale_and_zero(index)], name)

    def weight(self, index: int, layout: Callable[[NDArray[Any]], NDArray[Any]], channel_axis: int) -> str:
        """A kernel: int8 with its scales, a channel or one, dequantized; or float as it is."""
        tensor = self.tensor(index)
        if tensor.data is not None and tensor.dtype == "float32":
            return self.constant(f"t{index}", np.ascontiguousarray(layout(tensor.data)))
        if tensor.data is None or tensor.dtype != "int8" or np.any(tensor.zero_points):
            raise ArtifactError(f"tensor {tensor.name}: not a symmetric int8 kernel")
        data, scales = tensor.data, tensor.scales if len(tensor.scales) > 1 else tensor.scales[0]
        if self.reduced:
            # Two products of 255 and 64 fit the 16 bits that x86 without VNNI adds them in; two of 255 and 127 do not.
            data, scales = np.round(data / 2).astype(np.int8), scales * np.float32(2)
        inputs = [
            self.constant(f"t{index}", np.ascontiguousarray(layout(data))),
            self.constant(f"t{index}_scale", scales),
            self.constant(f"t{index}_zero_point", np.zeros_like(scales, dtype=np.int8)),
        ]
        attributes: dict[str, Any] = {"axis": channel_axis} if len(tensor.scales) > 1 else {}
        return self.emit("DequantizeLinear", inputs, f"t{index}_dequantized", **attributes)

    def bias(self, index: int) -> list[str]:
        """The bias, dequantized where it is int32, or nothing: the converter leaves out one of zeros (index -1)."""
        if index < 0:
            return []
        tensor = self.tensor(index)
        if tensor.data is None or tensor.dtype not in ("int32", "float32"):
            raise ArtifactError(f"tensor {tensor.name}: not an int32 bias")
        if tensor.dtype == "float32":
            return [self.constant(f"t{index}", tensor.data)]
        scales = tensor.scales if len(tensor.scales) > 1 else tensor.scales[0]
        if self.symmetric:
            # TensorRT reads no int32 DequantizeLinear; it rounds the bias itself.
            return [self.constant(f"t{index}", (tensor.data * scales).astype(np.float32))]
        data = tensor.data
        if self.reduced:
            # Its step is the kernel's times the input's.
            data, scales = np.round(data / 2).astype(np.int32), scales * np.float32(2)
        inputs = [self.constant(f"t{index}", data), self.constant(f"t{index}_scale", scales)]
        attributes: dict[str, Any] = {"axis": 0} if len(tensor.scales) > 1 else {}
        return [self.emit("DequantizeLinear", inputs, f"t{index}_dequantized", **attributes)]

    def finish(self, value: str, index: int, activation: int) -> None:
        """Bring an operator's float result to its output tensor, through its fused activation.

        Of a ReLU, saturation takes care where the zero point is the lowest integer; elsewhere a maximum of integers, or
        for TensorRT, which fuses it, a float ReLU.
        """
        kinds = {0: "NONE", 1: "RELU"}
        if activation not in kinds:
            raise ArtifactError(f"fused activation {activation} has no lowering")
        relu = kinds[activation] == "RELU"
        if relu and (self.is_float(index) or self.symmetric):
            value = self.emit("Relu", [value], f"t{index}_relu")
        if self.is_float(index):
            self.values[index] = value
            return
        self.quantized(value, index)
        lowest = np.iinfo(self.dtype).min
        if relu and not self.symmetric and self.tensor(index).quantization[1] + self.shift > lowest:
            zero_point = self.scale_and_zero(index)[1]
            self.values[index] = self.emit("Max", [self.values[index], zero_point], f"t{index}_clamped")

    def pads(self, operator: Operator, window: tuple[int, int]) -> list[int]:
        """ONNX' explicit pads for TFLite's SAME (0) and VALID (1), which put the odd pixel at the end."""
        if operator.options.padding == 1:
            return [0, 0, 0, 0]
        sizes = self.tensor(operator.inputs[0]).shape[1:3]
        begins, ends = [], []
        for size, extent, stride in zip(
            sizes, window, (operator.options.strideH, operator.options.strideW), strict=True
        ):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            begins.append(total // 2)
            ends.append(total - total // 2)
        return begins + ends

    # Operators

    def quantize(self, operator: Operator) -> None:
        (source,), (target,) = operator.inputs, operator.outputs
        if self.is_float(source):
            self.quantized(self.values[source], target)
            return
        if self.tensor(source).dtype != "uint8" or self.tensor(target).quantization != (1.0, -128):
            raise ArtifactError("a QUANTIZE that is not the image's: int8 artifacts take grey values on their own grid")
        # Only N and the grid order change: one channel has the same memory layout in NHWC and NCHW.
        _, height, width, _ = self.tensor(source).shape
        shape = self.constant("image_shape", np.array([0, 1, height, width], dtype=np.int64))
        value = self.emit("Reshape", [self.values[source], shape], "image_nchw")
        self.image = target
        if self.shift or self.symmetric:
            self.values[target] = value
            return
        scale = self.constant("image_scale", np.float32(1))
        zero = self.constant("image_zero_point", np.uint8(0))
        self.quantized(self.emit("DequantizeLinear", [value, scale, zero], "image_dequantized"), target)

    def convolution(self, operator: Operator) -> None:
        source, kernel, bias = operator.inputs
        (target,) = operator.outputs
        depthwise = operator.kind == "DEPTHWISE_CONV_2D"
        shape = self.tensor(kernel).shape
        window = (shape[1], shape[2])
        if (operator.options.dilationHFactor, operator.options.dilationWFactor) != (1, 1):
            raise ArtifactError(f"{operator.kind} with dilation has no lowering")
        strides = [operator.options.strideH, operator.options.strideW]
        if window == (1, 1) and strides != [1, 1] and not self.is_float(source) and not self.symmetric:
            # Picking the rows and columns that are read, as integers. OpenVINO does so by itself, but between
            # DequantizeLinear's parts, and then computes the convolution in float.
            window_and_steps: dict[str, Any] = {"kernel_shape": [1, 1], "strides": strides}
            picked = self.emit("MaxPool", [self.values[source]], f"t{target}_picked", **window_and_steps)
            value, strides = self.dequantized(source, picked), [1, 1]
        else:
            value = self.dequantized(source)
        # TFLite keeps [O, H, W, I], and [1, H, W, C] for depthwise; ONNX wants [O, I/groups, H, W].
        order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        weight = self.weight(kernel, lambda data: data.transpose(order), channel_axis=0)
        value = self.emit(
            "Conv",
            [value, weight, *self.bias(bias)],
            f"t{target}_float",
            name=self.layer(target),
            kernel_shape=list(window),
            strides=strides,
            pads=self.pads(operator, window),
            group=shape[3] if depthwise else 1,
        )
        self.finish(value, target, operator.options.fusedActivationFunction)

    def fully_connected(self, operator: Operator) -> None:
        source, kernel, bias = operator.inputs
        (target,) = operator.outputs
        weight = self.weight(kernel, lambda data: data, channel_axis=0)
        inputs = [self.dequantized(source), weight, *self.bias(bias)]
        value = self.emit("Gemm", inputs, f"t{target}_float", name=self.layer(target), transB=1)
        self.finish(value, target, operator.options.fusedActivationFunction)

    def add(self, operator: Operator) -> None:
        (target,) = operator.outputs
        inputs = []
        for index in operator.inputs:
            data = self.tensor(index).data
            inputs.append(self.dequantized(index) if data is None else self.scalar(index))
        self.finish(
            self.emit("Add", inputs, f"t{target}_float", name=self.layer(target)),
            target,
            operator.options.fusedActivationFunction,
        )

    def max_pool(self, operator: Operator) -> None:
        (source,), (target,) = operator.inputs, operator.outputs
        if self.tensor(source).quantization != self.tensor(target).quantization:
            raise ArtifactError("a MAX_POOL_2D that changes its scale has no lowering")
        window = (operator.options.filterHeight, operator.options.filterWidth)
        # The largest of some integers is an integer; TensorRT alone wants it said in float.
        around = self.symmetric or self.is_float(source)
        value = self.emit(
            "MaxPool",
            [self.dequantized(source) if around else self.values[source]],
            f"t{target}_pooled",
            kernel_shape=list(window),
            strides=[operator.options.strideH, operator.options.strideW],
            pads=self.pads(operator, window),
        )
        if around:
            self.finish(value, target, operator.options.fusedActivationFunction)
        elif operator.options.fusedActivationFunction:
            raise ArtifactError("a MAX_POOL_2D with a fused activation has no lowering")
        else:
            self.values[target] = value

    def mean(self, operator: Operator) -> None:
        source, axes = operator.inputs
        (target,) = operator.outputs
        found = self.tensor(axes).data
        if found is None or sorted(found.reshape(-1).tolist()) != [1, 2]:
            raise ArtifactError("a MEAN over other axes than height and width has no lowering")
        self.quantized(self.emit("GlobalAveragePool", [self.dequantized(source)], f"t{target}_float"), target)
        if not operator.options.keepDims:
            self.values[target] = self.emit("Flatten", [self.values[target]], f"t{target}_flat")

    def dequantize(self, operator: Operator) -> None:
        (source,), (target,) = operator.inputs, operator.outputs
        readers = {reader.kind for reader in self.model.operators if target in reader.inputs}
        if not readers & {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"}:
            self.values[target] = self.dequantized(source)
            return
        # Spelled out for a layer left in float: ONNX Runtime quantizes the float kernel of a convolution between
        # DequantizeLinear and QuantizeLinear when it loads it, one scale for all channels.
        if source == self.image and (self.shift or self.symmetric):
            self.values[target] = self.emit("Cast", [self.values[source]], f"t{target}_float", to=TensorProto.FLOAT)
            return
        scale, zero = self.tensor(source).quantization
        value = self.emit("Cast", [self.values[source]], f"t{target}_integer", to=TensorProto.FLOAT)
        if zero + self.shift:
            origin = self.constant(f"t{target}_zero_point", np.float32(zero + self.shift))
            value = self.emit("Sub", [value, origin], f"t{target}_centred")
        self.values[target] = self.emit(
            "Mul", [value, self.constant(f"t{target}_scale", np.float32(scale))], f"t{target}_float"
        )

    def softmax(self, operator: Operator) -> None:
        (source,), (target,) = operator.inputs, operator.outputs
        if self.tensor(source).dtype != "float32":
            raise ArtifactError("an int8 softmax has no lowering: its step of 1/256 ties close classes")
        self.values[target] = self.emit("Softmax", [self.values[source]], PROBABILITIES, axis=-1)

    def reshape(self, operator: Operator) -> None:
        source, (target,) = operator.inputs[0], operator.outputs
        *places, channels = self.tensor(target).shape[1:]
        if self.tensor(source).shape[1:] != (channels,) or set(places) != {1}:
            raise ArtifactError("a RESHAPE of something else than a vector has no lowering")
        self.values[target] = self.one_place(source, target)

    def one_place(self, source: int, target: int) -> str:
        """The value of a vector an image, as an image of one place: channels come first here."""
        shape = self.constant(
            f"t{source}_one_place", np.array([0, self.tensor(source).shape[-1], 1, 1], dtype=np.int64)
        )
        return self.emit("Reshape", [self.values[source], shape], f"t{target}_one_place")

    def elementwise(self, operator: Operator) -> None:
        """A product or a quotient of float tensors."""
        (target,) = operator.outputs
        if not all(self.is_float(index) for index in (*operator.inputs, target)):
            raise ArtifactError(f"a {operator.kind} of integers has no lowering")
        # The converter leaves out a reshape where one N allows TFLite to broadcast without.
        image = len(self.tensor(target).shape) == 4
        inputs = [
            self.one_place(index, target) if image and len(self.tensor(index).shape) == 2 else self.values[index]
            for index in operator.inputs
        ]
        value = self.emit(operator.kind.capitalize(), inputs, f"t{target}_float", name=self.layer(target))
        self.finish(value, target, operator.options.fusedActivationFunction)

    def lower(self, opset: int) -> onnx.ModelProto:
        handlers = {
            "QUANTIZE": self.quantize,
            "CONV_2D": self.convolution,
            "DEPTHWISE_CONV_2D": self.convolution,
            "FULLY_CONNECTED": self.fully_connected,
            "ADD": self.add,
            "MAX_POOL_2D": self.max_pool,
            "MEAN": self.mean,
            "RESHAPE": self.reshape,
            "MUL": self.elementwise,
            "DIV": self.elementwise,
            "DEQUANTIZE": self.dequantize,
            "SOFTMAX": self.softmax,
        }
        (image,), (probabilities, *heatmap) = self.model.inputs, self.model.outputs
        self.values[image] = IMAGE
        for operator in self.model.operators:
            if operator.kind not in handlers:
                raise ArtifactError(f"TFLite operator {operator.kind} has no lowering to ONNX")
            handlers[operator.kind](operator)
        if self.values.get(probabilities) != PROBABILITIES:
            raise ArtifactError("the TFLite file does not end in a softmax")
        _, height, width, channels = self.tensor(image).shape
        classes = self.tensor(probabilities).shape[-1]
        batch = "N" if self.batch is None else self.batch
        outputs = [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [batch, classes])]
        for index in heatmap:
            self.emit("Transpose", [self.values[index]], HEATMAP, name=f"{HEATMAP}_nhwc", perm=[0, 2, 3, 1])
            shape = [batch, *self.tensor(index).shape[1:]]
            outputs.append(helper.make_tensor_value_info(HEATMAP, TensorProto.FLOAT, shape))
        graph = helper.make_graph(
            self.nodes,
            "cxr_edge_int8",
            [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [batch, height, width, channels])],
            outputs,
            initializer=list(self.constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="cxr-edge")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def lower_to_onnx(tflite: bytes, flavour: str, opset: int, batch: int | None) -> onnx.ModelProto:
    """An ONNX model with the integers of an int8 TFLite file.

    Input `image` uint8 `[N, S, S, 1]`, output `probabilities` float32 `[N, K]`, as every artifact, and `heatmap` if the
    file has it.

    Args:
        tflite: the content of a full-integer TFLite file from `int8_tflite`. For `int8-symmetric` its zero points must
            be 0, and what reads the image in float.
        flavour: integer type of the activations, one of `cxr_edge.exporting.recipe.FLAVOURS`. `uint8-reduced` halves
            the kernels' integers.
        opset: of the operators.
        batch: the only N that the file takes; None for any.

    Raises:
        ArtifactError: the file holds something that this lowering does not know.
    """
    return _Lowering(read_tflite(tflite), flavour, batch).lower(opset)
