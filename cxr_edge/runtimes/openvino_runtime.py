"""OpenVINO on the CPU and on Intel's GPUs; it reads both TFLite and ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import HEATMAP, INT8_PROBABILITY, PROBABILITIES
from cxr_edge.runtimes.base import CPU


class OpenVINOSession:
    """A compiled model with one request."""

    def __init__(self, path: Path, threads: int, provider: str = CPU) -> None:
        # Left to itself, OpenVINO computes float models in bfloat16 (float16 on a GPU) where the hardware has it.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if provider == CPU:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        # Named itself, never AUTO or HETERO: they fall back.
        self.ran_on = provider.upper()
        self._model = core.compile_model(str(path), self.ran_on, settings)
        self._request = self._model.create_infer_request()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([images])
        probabilities: NDArray[np.float32] = self._request.get_tensor(PROBABILITIES).data.copy()
        if probabilities.dtype == np.int8:
            # OpenVINO gives the integers out without their scale.
            scale, zero_point = INT8_PROBABILITY
            probabilities = (probabilities.astype(np.float32) - zero_point) * np.float32(scale)
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.run(images), self._request.get_tensor(HEATMAP).data.copy()


def load(path: Path, threads: int, provider: str) -> OpenVINOSession:
    return OpenVINOSession(path, threads, provider)


def missing(provider: str) -> str | None:
    found = openvino.Core().available_devices
    if any(device.partition(".")[0] == provider.upper() for device in found):
        return None
    return (
        f"OpenVINO sees {', '.join(found) or 'no device'} here and no {provider.upper()}; Intel's GPU driver brings it"
    )


def version() -> str:
    return str(openvino.__version__).split("-")[0]
