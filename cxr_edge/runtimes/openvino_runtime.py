"""OpenVINO on the CPU; it reads both TFLite and ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from cxr_edge.bundle import INT8_PROBABILITY


class OpenVINOSession:
    """A compiled model with one request."""

    def __init__(self, path: Path, threads: int) -> None:
        self._model = openvino.Core().compile_model(
            str(path),
            "CPU",
            # Left to itself, OpenVINO computes float models in bfloat16 where the CPU has it.
            {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"},
        )
        self._request = self._model.create_infer_request()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([images])
        probabilities: NDArray[np.float32] = self._request.get_tensor("probabilities").data.copy()
        if probabilities.dtype == np.int8:
            # OpenVINO gives the integers out without their scale.
            scale, zero_point = INT8_PROBABILITY
            probabilities = (probabilities.astype(np.float32) - zero_point) * np.float32(scale)
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.run(images), self._request.get_tensor("heatmap").data.copy()


def load(path: Path, threads: int) -> OpenVINOSession:
    return OpenVINOSession(path, threads)
