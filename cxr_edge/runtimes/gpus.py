"""Which GPUs the operating system shows."""

from __future__ import annotations

import sys
from pathlib import Path


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
