"""OpenVINO on the CPU; it reads both TFLite and ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray


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
        probabilities: NDArray[np.float32] = self._request.get_output_tensor(0).data.copy()
        return probabilities


def load(path: Path, threads: int) -> OpenVINOSession:
    return OpenVINOSession(path, threads)
