"""Whether the machine was quiet during measurement: spread of the rounds, throttling, changing frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Interquartile range of the rounds' medians, as a share of their median, above which ratios of a few per cent mean
#: nothing. Quiet runs of this project had 1 to 3 per cent, runs beside a compiler 10 and more.
NOISY_SPREAD = 0.08
_FREQUENCY_CHANGE = 0.1


@dataclass(frozen=True)
class Clock:
    """The system's counters: throttling events of the CPU and of the container, and the frequency in kHz."""

    throttled: int | None
    container_throttled: int | None
    frequency: float | None


@dataclass(frozen=True)
class Noise:
    """`spread` is the median of the spreads of all candidates but cascades (see `Latency`).

    `reasons` say why the machine was noisy.
    """

    spread: float
    noisy: bool
    reasons: tuple[str, ...]


def _numbers(paths: Sequence[Path]) -> list[int]:
    numbers = []
    for path in paths:
        try:
            numbers.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return numbers


def read_clock(system: Path = Path("/sys")) -> Clock:
    """The current counters; None for each that the system lacks."""
    cpus = sorted(system.glob("devices/system/cpu/cpu[0-9]*"))
    events = _numbers([cpu / "thermal_throttle/core_throttle_count" for cpu in cpus])
    frequencies = _numbers([cpu / "cpufreq/scaling_cur_freq" for cpu in cpus])
    container = None
    try:
        for line in (system / "fs/cgroup/cpu.stat").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            container = int(value) if name == "nr_throttled" else container
    except (OSError, ValueError):
        pass
    return Clock(sum(events) if events else None, container, float(np.median(frequencies)) if frequencies else None)


def judge_noise(spreads: Sequence[float], *stretches: tuple[Clock, Clock]) -> Noise:
    """Judge the noise.

    Args:
        spreads: each candidate's.
        stretches: the system's counters before and after each stretch of the measurement, in order. What happened
            between two stretches is no noise of what was measured.
    """
    spread = float(np.median(spreads))
    reasons = []
    if spread > NOISY_SPREAD:
        reasons.append(f"rounds spread by {100 * spread:.0f} %")
    for name, title in (
        ("throttled", "the CPU was throttled for heat"),
        ("container_throttled", "the container's CPU quota was used up"),
    ):
        counts = [(getattr(before, name), getattr(after, name)) for before, after in stretches]
        times = sum(max(0, last - first) for first, last in counts if first is not None and last is not None)
        if times:
            reasons.append(f"{title} {times} times")
    start, end = stretches[0][0].frequency, stretches[-1][1].frequency
    if start and end:
        change = end / start - 1
        if abs(change) > _FREQUENCY_CHANGE:
            reasons.append(f"the CPU's frequency changed by {100 * change:+.0f} %")
    return Noise(spread, bool(reasons), tuple(reasons))
