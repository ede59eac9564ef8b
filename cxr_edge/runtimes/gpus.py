"""Which GPUs the operating system shows, and which of them WebGPU uses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_edge.runtimes.vulkan import GPUAdapter


#: Mesa's software adapter: Dawn, the WebGPU of both runtimes, did not start on the one version tried, Mesa 22's.
_REFUSED = "llvmpipe"


def gpu_nodes() -> list[str]:
    """Device files of GPUs on Linux (in a container, those passed to it); elsewhere just the system's name."""
    if not sys.platform.startswith("linux"):
        return [sys.platform]
    return sorted(
        str(path) for pattern in ("dri/renderD*", "nvidia[0-9]*", "nvhost-gpu") for path in Path("/dev").glob(pattern)
    )


def nvidia_nodes() -> list[str]:
    """Device files of NVIDIA GPUs, including those of Jetson boards."""
    return [node for node in gpu_nodes() if "nv" in Path(node).name or node == "win32"]


def webgpu_missing() -> str | None:
    """Why WebGPU has no adapter here, not even in software; None if no obstacle is known.

    It loads drivers, so call it in a separate process. macOS has no Vulkan, but always a GPU.
    """
    if sys.platform == "darwin":
        return None
    adapter = webgpu_adapter()
    if adapter is not None and adapter.is_software and adapter.name.startswith(_REFUSED):
        return (
            f"no GPU found here, only {adapter}, which WebGPU refuses; a GPU needs its driver, and SwiftShader, in "
            "software as well, works with VK_ICD_FILENAMES set to its file"
        )
    if adapter is not None:
        return None
    return "no GPU found here: Vulkan lists none (it needs a driver, and on Linux libvulkan.so.1)"


def webgpu_adapter() -> GPUAdapter | None:
    """The adapter that WebGPU uses, a software adapter if it is the only one; None if Vulkan lists none."""
    # Imported lazily: a prediction on the CPU does not need it.
    from cxr_edge.runtimes.vulkan import adapters

    return next(iter(adapters()), None)


def webgpu_on() -> str:
    """WebGPU with the name of its adapter; a software adapter is marked as such."""
    adapter = webgpu_adapter()
    return "WebGPU" if adapter is None else f"WebGPU on {adapter}"
