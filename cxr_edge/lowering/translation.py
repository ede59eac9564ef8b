"""The state of a translation from TFLite to ONNX, which the operators' handlers read and extend."""

from __future__ import annotations

import numpy as np
from ai_edge_litert.schema_py_generated import ActivationFunctionType

from cxr_edge.artifacts.tflite_file import Tensor, TFLiteFile, schema_name
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.activations import ActivationFormat
from cxr_edge.lowering.builder import GraphBuilder


class Translation:
    """Tensors of the TFLite file by index, and the ONNX values of those computed so far.

    Attributes:
        model: the TFLite file.
        activations: the integers of the ONNX file.
        builder: builds the ONNX graph.
        values: name of the ONNX value of each TFLite tensor.
        image: index of the tensor that holds the image's integers, once there is one.
    """

    def __init__(self, model: TFLiteFile, activations: ActivationFormat) -> None:
        self.model, self.activations = model, activations
        self.builder = GraphBuilder()
        self.values: dict[int, str] = {}
        self.image: int | None = None
        self._dequantizations = 0

    def tensor(self, index: int) -> Tensor:
        return self.model.tensors[index]

    def is_float(self, index: int) -> bool:
        return self.tensor(index).is_float

    def layer(self, index: int) -> str:
        """Name of the layer that outputs a tensor."""
        return self.tensor(index).name.removesuffix("_float")

    def scale_and_zero_point(self, index: int) -> list[str]:
        """The two constants of an integer tensor.

        Raises:
            ArtifactError: the activations must be symmetric but its zero point is not 0.
        """
        scale, zero_point = self.tensor(index).quantization
        if self.activations.symmetric and zero_point:
            raise ArtifactError(
                f"tensor {self.tensor(index).name}: its zero point is {zero_point}; symmetric activations need "
                "symmetric ranges, and the first convolution in float"
            )
        shifted_zero_point = np.array(zero_point + self.activations.offset, dtype=self.activations.dtype)
        return [
            self.builder.constant(f"t{index}_scale", np.float32(scale)),
            self.builder.constant(f"t{index}_zero_point", shifted_zero_point),
        ]

    def dequantized(self, index: int, value: str | None = None) -> str:
        """The float value of a tensor, or of integers picked from it, for one reader."""
        if self.is_float(index):
            return self.values[index]
        # A separate dequantize for each reader: the runtimes fuse a group only if it is not shared.
        self._dequantizations += 1
        return self.builder.node(
            "DequantizeLinear",
            [value or self.values[index], *self.scale_and_zero_point(index)],
            f"t{index}_dequantized{self._dequantizations}",
        )

    def quantize(self, value: str, index: int) -> None:
        """Quantize a float value into an integer tensor."""
        inputs = [value, *self.scale_and_zero_point(index)]
        self.values[index] = self.builder.node("QuantizeLinear", inputs, f"t{index}_quantized")

    def finish(self, value: str, index: int, fused_activation: int) -> None:
        """Write an operator's float result to its output tensor, applying the fused activation.

        Saturation implements a ReLU if the zero point is the lowest integer; otherwise a maximum of integers does, or,
        for TensorRT, a float ReLU, which it fuses.

        Raises:
            ArtifactError: the activation is not a ReLU.
        """
        if fused_activation not in (ActivationFunctionType.NONE, ActivationFunctionType.RELU):
            name = schema_name(ActivationFunctionType, fused_activation)
            raise ArtifactError(f"{self.layer(index)}: a fused {name} has no lowering")
        relu = fused_activation == ActivationFunctionType.RELU
        symmetric = self.activations.symmetric
        if relu and (self.is_float(index) or symmetric):
            value = self.builder.node("Relu", [value], f"t{index}_relu")
        if self.is_float(index):
            self.values[index] = value
            return
        self.quantize(value, index)
        zero_point = self.tensor(index).quantization[1] + self.activations.offset
        if relu and not symmetric and zero_point > self.activations.lowest:
            inputs = [self.values[index], self.scale_and_zero_point(index)[1]]
            self.values[index] = self.builder.node("Max", inputs, f"t{index}_clamped")
