"""LiteRT, formerly TensorFlow Lite: on the CPU (XNNPACK), and on a GPU through WebGPU."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.contract import HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.console import quiet
from cxr_edge.errors import ProviderError, first_line
from cxr_edge.runtimes.base import CPU, Adapter, Provider, Runtime
from cxr_edge.runtimes.gpus import webgpu_adapter, webgpu_missing, webgpu_on

if TYPE_CHECKING:
    from cxr_edge.runtimes.vulkan import GPUAdapter


def _interpreter(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


class LiteRTSession:
    """An interpreter that resizes its batch when N changes."""

    ran_on = "XNNPACK"

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = _interpreter(path, threads)
        (image,) = self._interpreter.get_input_details()
        outputs = self._outputs()
        probabilities = outputs[PROBABILITIES]
        self._image, self._probabilities = image["index"], probabilities["index"]
        self._heatmap = outputs.get(HEATMAP, {}).get("index")
        self._batch = int(image["shape"][0])
        #: Scale and zero point of integer probabilities.
        self._quantization = None if probabilities["dtype"] == np.float32 else probabilities["quantization"]

    def _outputs(self) -> Mapping[str, Any]:
        return {detail["name"]: detail for detail in self._interpreter.get_output_details()}

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


class CompiledModelSession:
    """LiteRT's compiled model, for accelerators that the interpreter does not support; one image at a time.

    Args:
        path: the file.
        accelerator: `GPU`, or `CPU` to run the same code path without one.

    Raises:
        ProviderError: the accelerator did not come up, left operators to the CPU, or computes this kind of file
            wrongly.
    """

    def __init__(self, path: Path, accelerator: str) -> None:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        artifact = read_artifact(path)
        contract = artifact.metadata.contract
        if contract.probabilities.type != "float32":
            raise ProviderError(
                f"{path}: integer probabilities are for the Edge TPU; take another artifact for this GPU"
            )
        if accelerator == "GPU" and artifact.quantization.is_integer:
            # LiteRT 2.3 leaves out the stride of 1x1 convolutions in int8: the outputs hardly depend on the image.
            raise ProviderError(
                f"{path}: LiteRT's GPU accelerator computes int8 files wrong; take a float32 or fp16 artifact"
            )
        #: Shapes of one image's outputs.
        self._shapes = {PROBABILITIES: [int(size) for size in contract.probabilities.shape[1:]]}
        if contract.heatmap is not None:
            self._shapes[HEATMAP] = [int(size) for size in contract.heatmap.shape[1:]]
        try:
            with quiet():
                self._model = CompiledModel.from_file(str(path), HardwareAccelerator[accelerator])
                complete = self._model.is_fully_accelerated()
        except Exception as error:
            raise ProviderError(
                f"{path}: LiteRT's {accelerator} accelerator did not come up ({first_line(error)})"
            ) from None
        if accelerator != "CPU" and not complete:
            raise ProviderError(f"{path}: LiteRT's {accelerator} accelerator leaves some of its operators to the CPU")
        self.ran_on = webgpu_on() if accelerator == "GPU" else accelerator
        (key,) = self._model.get_signature_list()
        self._image: Any = self._model.create_input_buffer_by_name(key, IMAGE)
        self._outputs: Any = {name: self._model.create_output_buffer_by_name(key, name) for name in self._shapes}
        self._key = key

    def _outputs_of(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        self._image.write(np.ascontiguousarray(image))
        self._model.run_by_name(self._key, {IMAGE: self._image}, self._outputs)
        return {
            name: np.asarray(self._outputs[name].read(int(np.prod(shape)), np.float32)).reshape(shape)
            for name, shape in self._shapes.items()
        }

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([self._outputs_of(image)[PROBABILITIES] for image in np.split(images, len(images))])

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = [self._outputs_of(image) for image in np.split(images, len(images))]
        return np.stack([each[PROBABILITIES] for each in outputs]), np.stack([each[HEATMAP] for each in outputs])


class _LiteRT(Adapter):
    def prepare(self) -> None:
        importlib.import_module("ai_edge_litert.interpreter")

    def version(self) -> str:
        import ai_edge_litert

        return str(ai_edge_litert.__version__)

    def missing(self, provider: str) -> str | None:
        import ai_edge_litert

        if provider == CPU:
            return None
        if not list(Path(ai_edge_litert.__file__).parent.glob("*WebGpuAccelerator*")):
            return (
                "this build of ai-edge-litert has no WebGPU accelerator; its wheels for x86-64 Linux, macOS and "
                "Windows do"
            )
        return webgpu_missing()

    def gpu(self, provider: str) -> GPUAdapter | None:
        return None if provider == CPU else webgpu_adapter()

    def load(self, path: Path, threads: int, provider: str) -> LiteRTSession | CompiledModelSession:
        return LiteRTSession(path, threads) if provider == CPU else CompiledModelSession(path, provider.upper())

    def open(self, path: Path) -> None:
        _interpreter(path, 1)


RUNTIME = Runtime(
    "litert",
    "LiteRT",
    package="ai_edge_litert",
    extra="litert",
    formats=("tflite",),
    preference=1,
    adapter=_LiteRT(),
    accelerators=(
        Provider("gpu", "WebGPU", "refused: it leaves out the stride of 1x1 convolutions, seen with LiteRT 2.3"),
    ),
)
