"""Convert a run's graph to the content of artifacts, without metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.console import quiet
from cxr_edge.exporting.recipe import OutputType, Recipe
from cxr_edge.progress import Stage
from cxr_edge.quantization.graph import Graph, with_heatmap, with_temperature
from cxr_edge.quantization.quantized_graph import QuantizedGraph

if TYPE_CHECKING:
    from onnx import ModelProto

#: Number of representative images for the bias correction of a reduced range: means need no more.
CORRECTION_IMAGES = 32


class Converter:
    """Makes the content of artifacts; intermediate results that they share are computed once.

    Args:
        recipe: what to write.
        graph: the run's deployment graph, in float.
        integers: the int8 graph of an integer quantization.
        representative: the representative data set, uint8 `[N, S, S, 1]`.
        temperature: the divisor of the logits.
        stage: shows the current step.
    """

    def __init__(
        self,
        recipe: Recipe,
        graph: Graph,
        integers: Callable[[Quantization], QuantizedGraph],
        representative: Callable[[], NDArray[np.uint8]],
        temperature: float,
        stage: Stage,
    ) -> None:
        self.recipe, self.graph, self.integers, self.temperature = recipe, graph, integers, temperature
        self.representative = representative
        self.stage = stage
        self.batch = recipe.batch.size
        self._float32: bytes | None = None
        self._float_onnx: ModelProto | None = None
        self._integer: dict[Quantization, bytes] = {}

    def model_bytes(self, kind: ArtifactFormat, quantization: Quantization) -> bytes:
        """The content of an artifact, without its metadata."""
        if kind == ArtifactFormat.ONNX:
            return self._onnx(quantization)
        if quantization.is_integer:
            return self._integer_tflite(quantization)
        if quantization.is_half:
            return self._float_tflite(quantization)
        return self._float32_tflite()

    def scaled_graph(self) -> Graph:
        """The float graph with the temperature folded in, and the heat map if requested."""
        return self._with_heatmap(with_temperature(self.graph, self.temperature)[0])

    def _with_heatmap(self, graph: Graph) -> Graph:
        return with_heatmap(graph) if self.recipe.heatmap else graph

    def _onnx(self, quantization: Quantization) -> bytes:
        from cxr_edge.exporting.onnx_float import converted_by_tf2onnx, float_onnx
        from cxr_edge.lowering.lower import lower_to_onnx

        tflite = self._integer_tflite(quantization) if quantization.is_integer else self._float32_tflite()
        with self._converting(f"{quantization} to ONNX"):
            opset = self.recipe.opset
            if quantization.is_integer:
                images = self.representative()[:CORRECTION_IMAGES] if self.recipe.reduced_range else None
                model = lower_to_onnx(tflite, self.recipe.activations, opset, self.batch, images)
            else:
                if self._float_onnx is None:
                    self._float_onnx = converted_by_tf2onnx(tflite, opset)
                model = float_onnx(self._float_onnx, quantization.is_half, self.batch)
            return bytes(model.SerializeToString())

    def _float32_tflite(self) -> bytes:
        if self._float32 is None:
            self._float32 = self._float_tflite(Quantization.FLOAT32)
        return self._float32

    def _float_tflite(self, quantization: Quantization) -> bytes:
        from cxr_edge.exporting.tflite import float_tflite

        with self._converting(f"{quantization} to TFLite"):
            return float_tflite(self.scaled_graph(), self.batch, half=quantization.is_half)

    def _scaled(self, quantized: QuantizedGraph) -> QuantizedGraph:
        """The graph to convert, with the temperature folded in, and the heat map if requested."""
        graph, logits = with_temperature(quantized.graph, self.temperature)
        # Kernel, bias and range shrink alike, so the integers stay those that were fine-tuned.
        ranges = {
            name: (low / self.temperature, high / self.temperature) if name == logits else (low, high)
            for name, (low, high) in quantized.ranges.items()
        }
        return QuantizedGraph(self._with_heatmap(graph), ranges)

    def _integer_tflite(self, quantization: Quantization) -> bytes:
        if quantization not in self._integer:
            quantized = self.integers(quantization)
            # int8 that needed no fine-tuning is int8-ptq.
            equal = [content for other, content in self._integer.items() if quantized.computes_as(self.integers(other))]
            self._integer[quantization] = equal[0] if equal else self._converted(quantization, quantized)
        return self._integer[quantization]

    def _converted(self, quantization: Quantization, quantized: QuantizedGraph) -> bytes:
        from cxr_edge.exporting.tflite import int8_tflite

        scaled = self._scaled(quantized)
        with self._converting(f"{quantization} to TFLite"):
            return int8_tflite(scaled, self.batch, self.recipe.output_type is OutputType.INT8)

    @contextmanager
    def _converting(self, title: str) -> Iterator[None]:
        """Show a stage, and suppress the converters' own output."""
        with self.stage(f"converting {title}", None), quiet():
            yield
