"""An emulator of 64-bit Arm CPUs, an Arm Python for it, and the pinned packages for Arm and x86, below one folder."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aarch64.apt import RELEASE, Apt, SetupError, output_of, unpack

CLONE = Path(__file__).resolve().parents[2]
REQUIREMENTS = CLONE / "requirements" / "device.txt"
#: The release's Python, and the minor version of its C library, which decides which wheels it can load.
PYTHON, GLIBC = "3.13", 41
#: In Debian 12's QEMU 7.2 the pinned runtimes crash, and older ones compute something else where it emulates SME.
LEAST_QEMU = (10, 0)


@dataclass(frozen=True)
class Machine:
    """How Python starts on a machine: its command, and where its packages lie. `name` is that of the CPU."""

    name: str
    python: tuple[str, ...]
    packages: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables of this project, from this clone, on this machine; one thread, since QEMU may hang with more."""
        own = {
            "PYTHONPATH": f"{self.packages}{os.pathsep}{CLONE}",
            "PYTHONPYCACHEPREFIX": str(self.packages.parent / "bytecode"),
            "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        return {**os.environ, **own}


def check_here() -> None:
    """Raises SetupError where this cannot work, and says what would help."""
    if platform.machine() != "x86_64":
        raise SetupError(
            f"an emulated Arm CPU is compared with x86_64 here, and this machine is {platform.machine()}; "
            "on an Arm machine, run: cxr-edge verify --bundle BUNDLE"
        )
    require({"apt-get": "comes with Debian and Ubuntu", "dpkg-deb": "in the package dpkg"})
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        raise SetupError(f"{sys.executable} has no pip; python -m ensurepip, or a virtual environment with it")


def require(tools: dict[str, str]) -> None:
    """Raises SetupError naming the tools that are not on PATH and where each comes from."""
    missing = [f"{tool} ({source})" for tool, source in tools.items() if shutil.which(tool) is None]
    if missing:
        raise SetupError(f"not found on this machine: {', '.join(missing)}")


def version_of(text: str) -> tuple[int, int]:
    """Major and minor version from what `qemu-aarch64 --version` prints. Raises SetupError."""
    match = re.search(r"qemu-aarch64 version (\d+)\.(\d+)", text)
    if match is None:
        raise SetupError(f"not an emulator of 64-bit Arm: it calls itself {text.strip()[:60]!r}")
    return int(match[1]), int(match[2])


def emulator_title(emulator: Path) -> str:
    """What the emulator calls itself, version included. Raises SetupError when it does not run."""
    try:
        return (output_of([str(emulator), "--version"]).splitlines() or [""])[0]
    except OSError as error:
        raise SetupError(f"{emulator}: does not run ({error.strerror})") from None


class Environment:
    """What is needed to run this clone on x86 and on emulated Arm CPUs; fetched once, then reused.

    Args:
        folder: below which all of it lies.
        mirror: address of a Debian mirror; None for the one this system uses.
        emulator: a QEMU of any version; None for one on PATH that is new enough, or else Debian's.

    Raises:
        SetupError: something could not be fetched.
    """

    def __init__(self, folder: Path, mirror: str | None, emulator: Path | None) -> None:
        self._folder, self._mirror = folder.resolve(), mirror
        if emulator is not None:
            emulator = emulator.resolve()
            version_of(emulator_title(emulator))
        self._apt: Apt | None = None
        self._root = self._folder / "root"
        self._once(self._root, f"{RELEASE} {PYTHON}", self._fetch_root)
        self.emulator = emulator or self._emulator_on_path() or self._fetched_emulator()
        pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        self._arm, self._x86 = self._folder / "arm" / "packages", self._folder / "x86" / "packages"
        self._once(self._arm, f"{PYTHON} {pins}", lambda: self._install(self._arm, _arm_options()))
        self._once(self._x86, f"{version} {pins}", lambda: self._install(self._x86, []))

    def x86(self) -> Machine:
        return Machine("x86_64", (sys.executable,), self._x86)

    def arm(self, cpu: str) -> Machine:
        """An emulated CPU, one of those `qemu-aarch64 -cpu help` names."""
        python = self._root / "usr" / "bin" / f"python{PYTHON}"
        return Machine(cpu, (str(self.emulator), "-cpu", cpu, "-L", str(self._root), str(python)), self._arm)

    def _once(self, folder: Path, content: str, make: Callable[[], None]) -> None:
        """Make a folder, unless it exists with this content; an interrupted one is made again."""
        stamp = folder.parent / f"{folder.name}.made-of"
        if stamp.is_file() and stamp.read_text() == content:
            return
        print(f"fetching {folder.relative_to(self._folder)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        stamp.unlink(missing_ok=True)
        folder.mkdir(parents=True)
        make()
        stamp.write_text(content)

    def _debian(self) -> Apt:
        self._apt = self._apt or Apt(self._folder / "apt", self._mirror)
        return self._apt

    def _fetch_root(self) -> None:
        unpack(self._debian().fetch_with_dependencies(f"python{PYTHON}", "libstdc++6"), self._root)

    def _emulator_on_path(self) -> Path | None:
        for name in ("qemu-aarch64", "qemu-aarch64-static"):
            path = shutil.which(name)
            if path is not None and version_of(emulator_title(Path(path))) >= LEAST_QEMU:
                return Path(path)
        return None

    def _fetched_emulator(self) -> Path:
        folder = self._folder / "qemu"
        self._once(folder, RELEASE, lambda: unpack(self._debian().fetch("qemu-user:amd64"), folder))
        return folder / "usr" / "bin" / "qemu-aarch64"

    def _install(self, folder: Path, options: list[str]) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
        output_of([*pip, "--target", str(folder), *options, "--require-hashes", "--requirement", str(REQUIREMENTS)])


def _arm_options() -> list[str]:
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(GLIBC, 16, -1)] + ["manylinux2014_aarch64"]
    options = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"]
    return [*options, *(word for name in platforms for word in ("--platform", name))]
