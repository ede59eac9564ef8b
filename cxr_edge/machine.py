"""The machine that a command runs on: usable cores, CPU, operating system, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

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
    """Contains no host or user name. `cores` are those this process may run on; None for what the system does not
    report.
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


def usable_cores() -> int:
    """Cores this process may run on, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_cpu() -> tuple[str, list[str]]:
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
