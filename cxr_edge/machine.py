"""The machine that a command runs on, for records: CPU, memory, limits, operating system, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.processors import describe_cpu, usable_cores

_PACKAGES = (
    "ai-edge-litert", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "pillow", "tensorflow",
    "tensorflow-model-optimization", "tf-keras", "tf2onnx",
)  # fmt: skip


@dataclass(frozen=True)
class ContainerLimits:
    """What a control group allows: `cpus` as a number of cores, `memory_bytes`; None for no limit."""

    cpus: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class Machine:
    """The machine, without host or user names. `cores` counts those that this process may use; None for anything that
    the system does not report.
    """

    cpu: str
    instruction_sets: tuple[str, ...]
    cores: int
    memory_bytes: int | None
    governor: str | None
    container: ContainerLimits
    architecture: str
    system: str
    python: str
    packages: dict[str, str]


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that determine what an artifact is and how fast it runs."""
    # Not needed for prediction, and slow to import.
    from importlib import metadata

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def memory_bytes() -> int | None:
    """The machine's memory; None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def container_limits() -> ContainerLimits:
    """The limits of this process's control group (version 2 or 1)."""
    quota = _read("/sys/fs/cgroup/cpu.max")
    if quota is None:
        parts = [_read(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    else:
        parts = list(quota.split())
    cpus = None
    if len(parts) == 2 and parts[0] and parts[1] and parts[0].isdigit():
        cpus = int(parts[0]) / int(parts[1])
    memory = _read("/sys/fs/cgroup/memory.max") or _read("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    # Version 1 writes the largest multiple of a page for "no limit".
    limit = int(memory) if memory and memory.isdigit() and int(memory) < 1 << 60 else None
    return ContainerLimits(cpus, limit)


def describe_machine() -> Machine:
    """The machine that this process runs on."""
    cpu, instruction_sets = describe_cpu()
    return Machine(
        cpu=cpu,
        instruction_sets=tuple(instruction_sets),
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        container=container_limits(),
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=package_versions(),
    )
