"""ONNX Runtime, on the CPU and on the execution providers that its build has."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.errors import ProviderError
from cxr_edge.processors import adds_products_in_16_bits
from cxr_edge.runtimes import onnx_webgpu
from cxr_edge.runtimes.base import CPU, Adapter, Provider, Runtime
from cxr_edge.runtimes.gpus import nvidia_nodes, webgpu_adapter, webgpu_on

if TYPE_CHECKING:
    from cxr_edge.runtimes.vulkan import GPUAdapter

WEBGPU = "webgpu"
PROVIDERS = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    WEBGPU: "WebGpuExecutionProvider",
}
#: How to get a provider that a build lacks. The wheels exclude each other: they install the same module.
_REMEDIES = {
    "cuda": "pip uninstall onnxruntime, then pip install onnxruntime-gpu",
    "tensorrt": "pip uninstall onnxruntime, then pip install onnxruntime-gpu tensorrt",
    "openvino": "pip uninstall onnxruntime, then pip install onnxruntime-openvino; or bench --runtime openvino",
    "coreml": "its wheel for macOS has it",
    "xnnpack": "its builds for Android and iOS have it, its wheels do not",
}
_NVIDIA = ("cuda", "tensorrt")
_NVIDIA_LIBRARIES = "CUDA 13 and cuDNN 9 for ONNX Runtime 1.31"
#: Compute int8 activations in integers on x86 too, as ONNX Runtime does on Arm. By default it uses float for some of
#: them on x86, which is faster: there is no good kernel for signed by signed 8-bit products.
SIGNED_ACTIVATIONS = ("session.qdqisint8allowed", "1")
#: On x86 without VNNI: kernels beyond -64..64 become uint8, whose products are added in 32 bits. Not set elsewhere:
#: with VNNI it would give up the faster instructions for the same sums.
_EXACT_SUMS = ("session.x64quantprecision", "1")


def _options(threads: int, provider: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # XNNPACK has its own threads; the session's would compete with them.
    options.intra_op_num_threads = 1 if provider == "xnnpack" else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def _provider_options(provider: str, threads: int) -> dict[str, str]:
    if provider == "xnnpack":
        return {"intra_op_num_threads": str(threads)}
    if provider == "tensorrt":
        # Without it TensorRT computes quantize-dequantize pairs in float.
        return {"trt_int8_enable": "1", "trt_fp16_enable": "1"}
    if provider == "openvino":
        return {"num_of_threads": str(threads)}
    return {}


def _session(path: Path, options: Any, provider: str, threads: int) -> Any:
    import onnxruntime

    if provider == WEBGPU:
        onnx_webgpu.use_webgpu(options)
        try:
            return onnxruntime.InferenceSession(str(path), options)
        except Exception as error:
            if onnx_webgpu.FELL_BACK not in str(error):
                raise
            raise ProviderError(
                f"{path}: WebGPU leaves a part of it to the CPU (it has no integers); take a float32 artifact"
            ) from None
    providers = [(PROVIDERS[provider], _provider_options(provider, threads))]
    # By default it would fall back to another provider if one fails, and print that to stdout.
    return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)


class ONNXRuntimeSession:
    """A session on exactly the requested provider.

    Args:
        path: the file.
        threads: per inference.
        provider: one of `PROVIDERS`.
        as_on_arm: validate a file with int8 activations on x86, using the integer arithmetic of its device.

    Raises:
        ProviderError: the session came up without the provider.
    """

    def __init__(self, path: Path, threads: int, provider: str = CPU, as_on_arm: bool = False) -> None:
        options = _options(threads, provider)
        if as_on_arm:
            # Exact on every x86 CPU without `_EXACT_SUMS`; no kernel combines its uint8 weights with int8 activations.
            options.add_session_config_entry(*SIGNED_ACTIVATIONS)
        elif adds_products_in_16_bits():
            options.add_session_config_entry(*_EXACT_SUMS)
        asked = PROVIDERS[provider]
        self._session = _session(path, options, provider, threads)
        self.ran_on = webgpu_on() if provider == WEBGPU else asked
        # A provider whose libraries cannot be loaded is silently replaced by the CPU.
        active = self._session.get_providers()
        if active[:1] != [asked]:
            raise ProviderError(
                f"{path}: asked for {asked}, ONNX Runtime fell back to {', '.join(active)}; its libraries "
                f"({_NVIDIA_LIBRARIES if provider in _NVIDIA else asked}) were not found or do not fit"
            )

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._session.run([PROBABILITIES], {IMAGE: images})[0]
        return probabilities

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, heatmap = self._session.run([PROBABILITIES, HEATMAP], {IMAGE: images})
        return probabilities, heatmap


class _ONNXRuntime(Adapter):
    def prepare(self) -> None:
        importlib.import_module("onnxruntime")

    def version(self) -> str:
        import onnxruntime

        return str(onnxruntime.__version__)

    def missing(self, provider: str) -> str | None:
        import onnxruntime

        if provider == WEBGPU:
            return onnx_webgpu.missing()
        built = onnxruntime.get_available_providers()
        if PROVIDERS[provider] not in built:
            available = ", ".join(name.removesuffix("ExecutionProvider") for name in built)
            return f"not in this build of ONNX Runtime ({available}): {_REMEDIES[provider]}"
        if provider in _NVIDIA and not nvidia_nodes():
            return f"this build of ONNX Runtime has {PROVIDERS[provider]}, but no NVIDIA GPU was found here"
        return None

    def gpu(self, provider: str) -> GPUAdapter | None:
        return webgpu_adapter() if provider == WEBGPU else None

    def load(self, path: Path, threads: int, provider: str) -> ONNXRuntimeSession:
        return ONNXRuntimeSession(path, threads, provider)

    def open(self, path: Path) -> None:
        # As `inspect` does. With `_EXACT_SUMS`, ONNX Runtime 1.31 cannot load some files of other tools.
        ONNXRuntimeSession(path, 1, as_on_arm=True)

    def placement(self, path: Path, threads: int, provider: str, image: NDArray[np.uint8]) -> dict[str, int]:
        """Counted in a profile of one inference: ONNX Runtime silently gives the CPU what a provider cannot compute."""
        with tempfile.TemporaryDirectory() as folder:
            options = _options(threads, provider)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = _session(path, options, provider, threads)
            session.run([PROBABILITIES], {IMAGE: image})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes = {
            event["name"].removesuffix("_kernel_time"): event["args"]["provider"]
            for event in events
            if event.get("cat") == "Node" and "provider" in event.get("args", {})
        }
        return dict(Counter(nodes.values()))


RUNTIME = Runtime(
    "onnx_runtime",
    "ONNX Runtime",
    package="onnxruntime",
    extra="onnx",
    formats=("onnx",),
    preference=2,
    adapter=_ONNXRuntime(),
    accelerators=(
        Provider(
            "cuda",
            "CUDA",
            "no integers: it takes every convolution, in float, and leaves the int32 biases to the CPU; not tested",
        ),
        Provider(
            "tensorrt",
            "TensorRT",
            "in integers if every zero point is 0, according to its documentation (recipe jetson-orin); not tested",
        ),
        Provider("openvino", "OpenVINO"),
        Provider("coreml", "CoreML"),
        Provider("xnnpack", "XNNPACK"),
        Provider(
            WEBGPU, "WebGPU", "refused: WebGPU computes no integers, so every QLinearConv would be left to the CPU"
        ),
    ),
)
