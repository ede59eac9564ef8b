"""Energy used by the machine, if it reports it: Intel's and AMD's RAPL counters, and the power rails of Jetson boards.

RAPL covers the processor package, the rails the whole module; both include what other programs use.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_SAMPLE_SECONDS = 0.02


class EnergyMeter(Protocol):
    """A meter of the machine's energy; `source` says what it covers."""

    source: str

    def joules(self) -> float:
        """Energy in joules since the meter was created."""
        ...


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


class RaplMeter:
    """The package counters under `powercap`, in microjoules, which wrap around to 0."""

    source = "RAPL, processor packages"

    def __init__(self, packages: list[Path]) -> None:
        self._counters = [(path / "energy_uj", _number(path / "max_energy_range_uj")) for path in packages]
        self._last = [_number(path) for path, _ in self._counters]
        self._sum = 0

    def joules(self) -> float:
        for index, (path, full) in enumerate(self._counters):
            now = _number(path)
            self._sum += now - self._last[index] + (full if now < self._last[index] else 0)
            self._last[index] = now
        return self._sum / 1e6


class RailMeter:
    """Jetson's input rail: millivolts and milliamperes, sampled and integrated in a thread."""

    source = "power rail of the module"

    def __init__(self, volts: Path, amperes: Path) -> None:
        self._volts, self._amperes = volts, amperes
        self._sum, self._time = 0.0, time.monotonic()
        self._watts = self._power()
        self._lock = threading.Lock()
        threading.Thread(target=self._sample, daemon=True).start()

    def _power(self) -> float:
        return _number(self._volts) * _number(self._amperes) / 1e6

    def _add(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._sum += self._watts * (now - self._time)
            self._time, self._watts = now, self._power()

    def _sample(self) -> None:
        # A sensor that is gone ends the sampling; whoever asks for the sum gets the error.
        with suppress(OSError, ValueError):
            while True:
                time.sleep(_SAMPLE_SECONDS)
                self._add()

    def joules(self) -> float:
        self._add()
        return self._sum


def energy_meter(system: Path = Path("/sys")) -> EnergyMeter | None:
    """This machine's meter; None if it has none, or this user may not read it."""
    try:
        # A zone named package-0 is a processor; there may be one of the whole platform, psys, which includes it.
        zones = sorted(system.glob("class/powercap/intel-rapl:*"))
        packages = [zone for zone in zones if (zone / "name").read_text(encoding="utf-8").startswith("package")]
        if packages:
            return RaplMeter(packages)
        for label in sorted(system.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
            if label.read_text(encoding="utf-8").strip() in ("VDD_IN", "POM_5V_IN"):
                number = label.name.removeprefix("in").removesuffix("_label")
                return RailMeter(label.with_name(f"in{number}_input"), label.with_name(f"curr{number}_input"))
    except (OSError, ValueError):
        # Since 2020 only root may read the counters: they reveal enough to extract keys from another process.
        return None
    return None
