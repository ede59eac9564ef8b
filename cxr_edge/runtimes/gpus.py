"""Which GPUs the operating system shows, and which of them WebGPU takes."""

from __future__ import annotations

import sys
from pathlib import Path

from cxr_edge.runtimes.vulkan import adapters


def gpu_nodes() -> list[str]:
    """Device files of GPUs on Linux, those that a container is given; on other systems, which hide none, their name."""
    if not sys.platform.startswith("linux"):
        return [sys.platform]
    return sorted(
        str(path) for pattern in ("dri/renderD*", "nvidia[0-9]*", "nvhost-gpu") for path in Path("/dev").glob(pattern)
    )


def nvidia_nodes() -> list[str]:
    """Device files of NVIDIA GPUs, those of Jetson boards among them."""
    return [node for node in gpu_nodes() if "nv" in Path(node).name or node == "win32"]


def webgpu_missing() -> str | None:
    """Why WebGPU has nothing to compute on here, in software or not; None where nothing is known against it.

    It loads drivers: to be called in a process of its own. macOS has no Vulkan, and always a GPU.
    """
    if sys.platform == "darwin" or adapters():
        return None
    return "no GPU is to be seen here: Vulkan lists none (it takes a driver, and on Linux libvulkan.so.1)"


def webgpu_adapter() -> str:
    """What WebGPU computes on, by the adapter's own name; one in software is said to be no GPU."""
    listed = adapters()
    return f"WebGPU on {listed[0]}" if listed else "WebGPU"


def only_in_software() -> bool:
    """Whether Vulkan lists adapters, and none is a GPU."""
    listed = adapters()
    return bool(listed) and all(adapter.is_software for adapter in listed)
