"""LiteRT, formerly TensorFlow Lite, on the CPU (XNNPACK)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from cxr_edge.quiet import quiet


class LiteRTSession:
    """An interpreter whose batch is resized when N changes."""

    def __init__(self, path: Path, threads: int) -> None:
        with quiet():
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        outputs = {detail["name"]: detail for detail in self._interpreter.get_output_details()}
        probabilities = outputs["probabilities"]
        self._image, self._probabilities = image["index"], probabilities["index"]
        self._heatmap = outputs.get("heatmap", {}).get("index")
        self._batch = int(image["shape"][0])
        #: Scale and zero point of integer probabilities.
        self._quantization = None if probabilities["dtype"] == np.float32 else probabilities["quantization"]

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(images) != self._batch:
            self._interpreter.resize_tensor_input(self._image, images.shape, strict=True)
            self._interpreter.allocate_tensors()
            self._batch = len(images)
        self._interpreter.set_tensor(self._image, images)
        self._interpreter.invoke()
        probabilities: NDArray[np.float32] = self._interpreter.get_tensor(self._probabilities)
        if self._quantization is not None:
            scale, zero_point = self._quantization
            probabilities = (probabilities.astype(np.float32) - zero_point) * np.float32(scale)
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.run(images), self._interpreter.get_tensor(self._heatmap)


def load(path: Path, threads: int) -> LiteRTSession:
    return LiteRTSession(path, threads)
