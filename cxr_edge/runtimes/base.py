"""What every runtime obeys, and the choice among them: each file `NAME_runtime.py` beside this one holds one."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.release import require_released
from cxr_edge.choices import nearest
from cxr_edge.errors import ArtifactError, MissingDependencyError, OptionError, ProviderError, first_line
from cxr_edge.machine import usable_cores
from cxr_edge.structure.check import require_sound

#: The provider that every runtime has.
CPU = "cpu"
#: Threads of one inference, where the machine has fewer cores: with a hundred thousand, LiteRT brings its process down,
#: and ONNX Runtime takes minutes.
MAX_THREADS = 256
_SUFFIX = "_runtime"


class Session(Protocol):
    """A loaded model."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 `[N, S, S, 1]` to probabilities float32 `[N, K]`."""
        ...


class ArtifactSession(Session, Protocol):
    """A loaded artifact. `ran_on` names what computes it, as the runtime itself says."""

    ran_on: str

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `run`, and the heat maps float32 `[N, H, W, K]` of an artifact that has them."""
        ...


class Adapter(ABC):
    """How to drive a runtime. Nothing of the runtime itself is imported before one of these methods is called."""

    @abstractmethod
    def prepare(self) -> None:
        """Import what loading needs, so that its time is not taken for that of loading."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def missing(self, provider: str) -> str | None:
        """Why a provider is not available here, and what would bring it; None where nothing is known against it."""

    @abstractmethod
    def load(self, path: Path, threads: int, provider: str) -> ArtifactSession:
        """Load a file for inferences with a number of threads, on exactly the provider that is named."""

    def placement(self, path: Path, threads: int, provider: str, image: NDArray[np.uint8]) -> dict[str, int]:
        """How many nodes of a file each unit computes, for uint8 `[1, S, S, 1]`; empty where a session cannot mix."""
        return {}


@dataclass(frozen=True)
class Provider:
    """What computes in a runtime (its word may be delegate, accelerator or device); `name` is for the command line."""

    name: str
    title: str


@dataclass(frozen=True)
class Runtime:
    """A way to run artifacts: a runtime, and the provider in it.

    `name` is what records call it, `package` is imported, `extra` installs it and is its name on the command line,
    `formats` is what it reads, `accelerators` are the providers it has beside the CPU. Where several runtimes can
    read an artifact, the lowest `preference` is taken.
    """

    name: str
    label: str
    package: str
    extra: str
    formats: tuple[str, ...]
    preference: int
    adapter: Adapter
    accelerators: tuple[Provider, ...] = ()
    provider: str = CPU

    @property
    def title(self) -> str:
        """For people: the provider is named where it is not the CPU."""
        titles = {provider.name: provider.title for provider in self.accelerators}
        return self.label if self.provider == CPU else f"{self.label} {titles[self.provider]}"

    @property
    def option(self) -> str:
        """As on the command line."""
        return self.extra if self.provider == CPU else f"{self.extra}:{self.provider}"

    def each_provider(self) -> list[Runtime]:
        """This runtime on the CPU, and on each of its accelerators."""
        names = [CPU, *(provider.name for provider in self.accelerators)]
        return [replace(self, provider=name) for name in names]

    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def prepare(self) -> None:
        """Import the runtime. Raises MissingDependencyError."""
        if not self.installed():
            raise MissingDependencyError(self.label, self.extra)
        self.adapter.prepare()

    def missing(self) -> str | None:
        """Why this provider is not available here; None where nothing is known against it.

        An accelerator's driver is asked in a separate process. Raises MissingDependencyError.
        """
        self.prepare()
        if self.provider == CPU:
            return self.adapter.missing(CPU)
        from cxr_edge.runtimes.accelerators import missing_accelerators

        return missing_accelerators([self])[self.option]

    def require(self) -> None:
        """Raises MissingDependencyError, or ProviderError where the provider is not available here."""
        reason = self.missing()
        if reason is not None:
            raise ProviderError(f"{self.option}: {reason}")

    def load(self, path: Path, threads: int) -> ArtifactSession:
        """Load an artifact; on an accelerator in a separate process (`cxr_edge.runtimes.accelerators`).

        Raises:
            MissingDependencyError: the runtime is not installed.
            ProviderError: it has not the provider that is asked for, or this did not come up.
            ArtifactError: as `require_loadable`, or the runtime cannot read the file, or dies of it
                (`cxr_edge.runtimes.trial`).
            OptionError: a number of threads that cannot be.
        """
        _require_possible(threads)
        require_loadable(path)
        self.prepare()
        if self.provider == CPU:
            from cxr_edge.runtimes.trial import Trial

            with Trial() as trial:
                trial.require_known(path, self)
            return self.load_here(path, threads)
        from cxr_edge.runtimes.accelerators import load_apart

        return load_apart(self, path, threads)

    def load_here(self, path: Path, threads: int) -> ArtifactSession:
        """As `load`, in this process whatever the provider; the drivers of some end a process badly."""
        self.prepare()
        if self.provider != CPU and (reason := self.adapter.missing(self.provider)) is not None:
            raise ProviderError(f"{self.option}: {reason}")
        try:
            return self.adapter.load(path, threads, self.provider)
        except ProviderError:
            raise
        except Exception as error:
            # onnxruntime's exceptions derive from nothing but Exception.
            raise ArtifactError(f"{path}: {self.title} cannot load it ({first_line(error)})") from None


def require_loadable(path: Path) -> None:
    """Refuse a file before a runtime sees it. Raises ArtifactError: it is damaged or forged, or not its owner's."""
    require_released(path)
    require_sound(path)


def _require_possible(threads: int) -> None:
    most = max(MAX_THREADS, usable_cores())
    if not 1 <= threads <= most:
        raise OptionError(
            f"--threads {threads}: from 1 to {most} are possible; this machine has {usable_cores()} cores"
        )


@cache
def all_runtimes() -> tuple[Runtime, ...]:
    """Every runtime that this version knows, on the CPU, installed or not, in the order of preference."""
    import cxr_edge.runtimes

    names = [module.name for module in pkgutil.iter_modules(cxr_edge.runtimes.__path__)]
    modules = [importlib.import_module(f"cxr_edge.runtimes.{name}") for name in names if name.endswith(_SUFFIX)]
    return tuple(sorted((module.RUNTIME for module in modules), key=lambda runtime: runtime.preference))


def every_runtime() -> list[Runtime]:
    """Each runtime with each of its providers."""
    return [each for runtime in all_runtimes() for each in runtime.each_provider()]


def runtime_named(name: str) -> Runtime:
    """A runtime by its name on the command line, such as `onnx` or `onnx:cuda`. Raises OptionError for another."""
    wanted, _, provider = name.lower().replace("-", "_").replace(" ", "_").partition(":")
    for runtime in every_runtime():
        if wanted in (runtime.name, runtime.package, runtime.extra) and runtime.provider == (provider or CPU):
            return runtime
    raise OptionError(f"runtime {name}: {nearest(name, (runtime.option for runtime in every_runtime()))}")


def runtimes_for(kind: str) -> list[Runtime]:
    """The installed runtimes that read a format, on the CPU, in the order of preference.

    Raises:
        MissingDependencyError: none is installed.
    """
    able = [runtime for runtime in all_runtimes() if kind in runtime.formats]
    installed = [runtime for runtime in able if runtime.installed()]
    if not installed:
        raise MissingDependencyError(f"a runtime for .{kind} files ({able[0].label})", able[0].extra)
    return installed
