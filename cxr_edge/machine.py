"""The machine that a command runs on: cores it may use, CPU, operating system, versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "ai-edge-litert", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "pillow", "tensorflow",
    "tensorflow-model-optimization", "tf-keras", "tf2onnx",
)  # fmt: skip


def usable_cores() -> int:
    """Cores this process may run on, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> tuple[str, list[str]]:
    """Model name, and the instruction sets that matter to int8."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set((named.get("flags") or named.get("Features") or "").split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
    return named.get("model name", platform.machine()), [flag for flag in wanted if flag in flags]


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what an artifact is and how fast it runs, those installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict[str, Any]:
    """JSON-ready description; no host or user name is in it."""
    cpu, instruction_sets = _cpu()
    return {
        "cpu": cpu,
        "instruction_sets": instruction_sets,
        "cores": usable_cores(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": package_versions(),
    }
