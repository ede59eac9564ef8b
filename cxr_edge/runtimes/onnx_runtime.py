"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

PROVIDER = "CPUExecutionProvider"
#: Compute int8 activations in integers on x86 too, as ONNX Runtime does on Arm. By itself it takes float for a part of
#: them there, which is faster: 8-bit signed by signed has no good kernel on x86.
SIGNED_ACTIVATIONS = ("session.qdqisint8allowed", "1")


class ONNXRuntimeSession:
    """A session on exactly the provider that was asked for.

    Args:
        path: the file.
        threads: of one inference.
        as_on_arm: validate a file with int8 activations on x86, in the integers that its device will compute.
    """

    def __init__(self, path: Path, threads: int, as_on_arm: bool = False) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if as_on_arm:
            options.add_session_config_entry(*SIGNED_ACTIVATIONS)
        self._session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
        if self._session.get_providers() != [PROVIDER]:
            raise RuntimeError(f"asked for {PROVIDER}, got {', '.join(self._session.get_providers())}")

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._session.run(["probabilities"], {"image": images})[0]
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, heatmap = self._session.run(["probabilities", "heatmap"], {"image": images})
        return probabilities, heatmap


def load(path: Path, threads: int) -> ONNXRuntimeSession:
    return ONNXRuntimeSession(path, threads)
