"""ONNX Runtime's WebGPU provider, which is a plugin: a package beside onnxruntime, not another build of it."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from cxr_edge.errors import ProviderError
from cxr_edge.runtimes.gpus import webgpu_adapter, webgpu_missing

_PACKAGE, _NAME = "onnxruntime_ep_webgpu", "WebGpuExecutionProvider"
#: The error of an InferenceSession that would assign nodes to the CPU.
FELL_BACK = "fallback to CPU EP has been explicitly disabled"


def missing() -> str | None:
    """Why WebGPU is unavailable here; None if no obstacle is known. Loads drivers."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return "its plugin is not installed: pip install onnxruntime-ep-webgpu, beside onnxruntime"
    return webgpu_missing()


def use_webgpu(options: Any) -> None:
    """Set up a session's options to compute on WebGPU, and leave nothing to the CPU.

    Raises:
        ProviderError: the plugin sees no adapter.
    """
    import onnxruntime
    import onnxruntime_ep_webgpu

    adapter = webgpu_adapter()
    if adapter is not None and adapter.is_software:
        # The user asked for WebGPU by name, and its adapter is reported: a software adapter shows results, not speed.
        os.environ["ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"] = "1"
    if not any(device.ep_name == _NAME for device in onnxruntime.get_ep_devices()):
        onnxruntime.register_execution_provider_library("webgpu", onnxruntime_ep_webgpu.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == _NAME]
    if not devices:
        raise ProviderError("onnx:webgpu: the plugin sees no GPU here")
    options.add_provider_for_devices(devices[:1], {})
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
