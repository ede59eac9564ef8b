"""OpenVINO on the CPU and on Intel's GPUs; it reads both TFLite and ONNX files."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import HEATMAP, INT8_PROBABILITY, PROBABILITIES
from cxr_edge.runtimes.base import CPU, Adapter, Provider, Runtime

if TYPE_CHECKING:
    from openvino import Core


@cache
def _core() -> Core:
    """The only one in this process, never released.

    Each one's CPU plugin (2026.4) sets an alternate signal stack, and restores the one before at its end. Of two, the
    one released last restores memory that the other has freed, and the next signal, such as Ctrl-C, is a crash.
    """
    import openvino

    return openvino.Core()


class OpenVINOSession:
    """A compiled model with one inference request."""

    def __init__(self, path: Path, threads: int, provider: str = CPU) -> None:
        # By default, OpenVINO computes float models in bfloat16 (float16 on a GPU) where the hardware has it.
        settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if provider == CPU:
            settings["INFERENCE_NUM_THREADS"] = threads
        # Named explicitly: AUTO and HETERO would fall back to another device.
        self.ran_on = provider.upper()
        self._model = _core().compile_model(str(path), self.ran_on, settings)
        self._request = self._model.create_infer_request()

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([images])
        probabilities: NDArray[np.float32] = self._request.get_tensor(PROBABILITIES).data.copy()
        if probabilities.dtype == np.int8:
            # OpenVINO returns the integers without their scale.
            scale, zero_point = INT8_PROBABILITY
            probabilities = (probabilities.astype(np.float32) - zero_point) * np.float32(scale)
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.run(images), self._request.get_tensor(HEATMAP).data.copy()


class _OpenVINO(Adapter):
    def prepare(self) -> None:
        importlib.import_module("openvino")

    def version(self) -> str:
        import openvino

        return str(openvino.__version__).split("-")[0]

    def missing(self, provider: str) -> str | None:
        if provider == CPU:
            # Listing the devices would start all of their drivers.
            return None
        devices = _core().available_devices
        if any(device.partition(".")[0] == provider.upper() for device in devices):
            return None
        seen = ", ".join(devices) or "no device"
        return f"OpenVINO sees {seen} here and no {provider.upper()}; install Intel's GPU driver"

    def load(self, path: Path, threads: int, provider: str) -> OpenVINOSession:
        return OpenVINOSession(path, threads, provider)


RUNTIME = Runtime(
    "openvino_runtime",
    "OpenVINO",
    package="openvino",
    extra="openvino",
    formats=("onnx", "tflite"),
    preference=3,
    adapter=_OpenVINO(),
    accelerators=(Provider("gpu", "GPU", "in integers according to its documentation; not tested"),),
)
