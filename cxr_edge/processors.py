"""The processor that this process runs on; apart from `machine`, since every prediction needs only this."""

from __future__ import annotations

import os
import platform
from pathlib import Path

#: With one of these, an x86 CPU accumulates products of 8-bit integers in 32 bits (VPDPBUSD and similar instructions).
_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def usable_cores() -> int:
    """Cores this process may run on, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, str]:
    """The fields of the last core; empty where there is no /proc."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    fields = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in fields}


def cpu_flags() -> set[str]:
    """Linux's names of the CPU's instruction sets; empty on other systems."""
    named = _cpuinfo()
    return set((named.get("flags") or named.get("Features") or "").split())


def describe_cpu() -> tuple[str, list[str]]:
    """Model name, and the instruction sets that matter to int8."""
    named = _cpuinfo()
    if not named:
        return platform.processor() or platform.machine(), []
    flags = cpu_flags()
    relevant = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
    return _model_name(named), [flag for flag in relevant if flag in flags]


def _model_name(named: dict[str, str]) -> str:
    """That of an x86 CPU; Linux has none for an Arm core, of which it names the board, or else the core's numbers."""
    if "model name" in named:
        return named["model name"]
    numbers = [named[key] for key in ("CPU implementer", "CPU part") if key in named]
    board = named.get("Model") or _device_tree_model() or " ".join(numbers)
    return f"{platform.machine()}, {board}" if board else platform.machine()


def _device_tree_model() -> str:
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, ValueError):
        return ""


def adds_products_in_16_bits() -> bool:
    """Whether fast kernels for uint8 activations and int8 weights can saturate here: on x86 without VNNI.

    Their VPMADDUBSW adds two products in 16 bits, where 2 * 255 * 127 does not fit
    (https://oneapi-src.github.io/oneDNN/dev_guide_int8_computations.html). Also True on an x86 CPU whose instruction
    sets cannot be read, as outside Linux: correct answers matter more than fast ones.
    """
    return platform.machine().lower() in ("x86_64", "amd64") and not cpu_flags() & _VNNI
