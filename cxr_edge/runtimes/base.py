"""The interface of all runtimes, and their registry: each module `NAME_runtime.py` of this package defines one."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.required_key import required_key
from cxr_edge.choices import nearest
from cxr_edge.errors import (
    ArtifactError,
    CxrEdgeError,
    MissingDependencyError,
    OptionError,
    ProviderError,
    first_line,
)
from cxr_edge.processors import usable_cores
from cxr_edge.structure.check import require_sound

if TYPE_CHECKING:
    from cxr_edge.runtimes.vulkan import GPUAdapter

#: The provider that every runtime has.
CPU = "cpu"
#: Maximum threads per inference, unless the machine has more cores: with a hundred thousand, LiteRT crashes the process
#: and ONNX Runtime takes minutes.
MAX_THREADS = 256
_SUFFIX = "_runtime"


class Session(Protocol):
    """A loaded model."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 `[N, S, S, 1]` to probabilities float32 `[N, K]`."""
        ...


class ArtifactSession(Session, Protocol):
    """A loaded artifact. `ran_on` is the hardware that the runtime itself reports."""

    ran_on: str

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `run`, with the heat maps float32 `[N, H, W, K]` of an artifact that has them."""
        ...


class Adapter(ABC):
    """Drives a runtime, which is imported only when one of these methods is called."""

    @abstractmethod
    def prepare(self) -> None:
        """Import what loading needs, so that the import does not count as loading time."""

    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def missing(self, provider: str) -> str | None:
        """Why a provider is unavailable here, and how to get it; None if no obstacle is known."""

    @abstractmethod
    def load(self, path: Path, threads: int, provider: str) -> ArtifactSession:
        """Load a file for inference with a number of threads, on exactly the named provider."""

    def open(self, path: Path) -> None:
        """Load a file on the CPU as `load` does, but with any inputs and outputs."""
        self.load(path, 1, CPU)

    def gpu(self, provider: str) -> GPUAdapter | None:
        """The adapter that a provider computes on, real or in software; None if the runtime does not name one."""
        return None

    def placement(self, path: Path, threads: int, provider: str, image: NDArray[np.uint8]) -> dict[str, int]:
        """The number of nodes that each provider computes for an image uint8 `[1, S, S, 1]`; empty if sessions use only
        one provider.
        """
        return {}


@dataclass(frozen=True)
class Provider:
    """A part of a runtime that computes (some runtimes call it a delegate, accelerator or device); `name` is its name
    on the command line.

    `int8` tells users of `inspect` how it handles int8 artifacts; None if unknown.
    """

    name: str
    title: str
    int8: str | None = None


@dataclass(frozen=True)
class Runtime:
    """A way to run artifacts: a runtime with one of its providers.

    `name` is its name in records, `package` the module to import, `extra` the extra that installs it and its name on
    the command line, `formats` the formats it reads, `accelerators` its providers other than the CPU. If several
    runtimes can read an artifact, the one with the lowest `preference` is used.
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
        """Display name, with the provider unless it is the CPU."""
        accelerator = self._accelerator()
        return self.label if accelerator is None else f"{self.label} {accelerator.title}"

    @property
    def int8(self) -> str | None:
        """As `Provider.int8`; None on the CPU."""
        accelerator = self._accelerator()
        return None if accelerator is None else accelerator.int8

    def _accelerator(self) -> Provider | None:
        return next((provider for provider in self.accelerators if provider.name == self.provider), None)

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return self.extra if self.provider == CPU else f"{self.extra}:{self.provider}"

    def each_provider(self) -> list[Runtime]:
        """This runtime on the CPU, and on each of its accelerators."""
        names = [CPU, *(provider.name for provider in self.accelerators)]
        return [replace(self, provider=name) for name in names]

    def installed(self) -> bool:
        # A folder that an uninstalled package left behind is found too, as a namespace without a file.
        spec = importlib.util.find_spec(self.package)
        return spec is not None and spec.origin is not None

    def prepare(self) -> None:
        """Import the runtime. Raises MissingDependencyError, ProviderError."""
        if not self.installed():
            raise MissingDependencyError(self.label, self.extra)
        try:
            self.adapter.prepare()
        except CxrEdgeError:
            raise
        except Exception as error:
            raise ProviderError(f"{self.label}: is installed, but cannot be imported ({first_line(error)})") from None

    def missing(self) -> str | None:
        """Why this provider is unavailable here; None if no obstacle is known.

        An accelerator's driver is queried in a separate process. Raises MissingDependencyError.
        """
        self.prepare()
        if self.provider == CPU:
            return self.adapter.missing(CPU)
        from cxr_edge.runtimes.accelerators import accelerator_states

        return accelerator_states([self])[self.option].missing

    def require(self) -> None:
        """Raises MissingDependencyError, or ProviderError if the provider is unavailable here."""
        reason = self.missing()
        if reason is not None:
            raise ProviderError(f"{self.option}: {reason}")

    def load(self, path: Path, threads: int, sha256: str | None = None) -> ArtifactSession:
        """Load an artifact; on an accelerator in a separate process (`cxr_edge.runtimes.accelerators`).

        Args:
            path: the file.
            threads: per inference.
            sha256: of the file, if the caller has just computed it, which takes longer than an inference.

        Raises:
            MissingDependencyError: the runtime is not installed.
            ProviderError: the runtime lacks the provider, or cannot initialize it.
            ArtifactError: as `require_loadable`, or the runtime cannot read the file or crashes on it
                (`cxr_edge.runtimes.trial`).
            OptionError: the number of threads is impossible.
        """
        require_possible_threads(threads)
        require_loadable(path)
        self.prepare()
        if self.provider == CPU:
            from cxr_edge.runtimes.trial import Trial

            with Trial() as trial:
                trial.require_known(path, self, sha256)
            return self.load_here(path, threads)
        from cxr_edge.runtimes.accelerators import load_apart

        return load_apart(self, path, threads)

    def load_here(self, path: Path, threads: int) -> ArtifactSession:
        """As `load`, but always in this process, which some drivers crash on exit."""
        self.prepare()
        if self.provider != CPU and (reason := self.adapter.missing(self.provider)) is not None:
            raise ProviderError(f"{self.option}: {reason}")
        with self._refusing(path):
            return self.adapter.load(path, threads, self.provider)

    def open_here(self, path: Path) -> None:
        """Load a file in this process on the CPU, with any inputs and outputs. Raises ArtifactError if that fails."""
        self.prepare()
        with self._refusing(path):
            self.adapter.open(path)

    @contextmanager
    def _refusing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except ProviderError:
            raise
        except Exception as error:
            # onnxruntime's exceptions derive directly from Exception.
            raise ArtifactError(f"{path}: {self.title} cannot load it ({first_line(error)})") from None


def require_loadable(path: Path) -> None:
    """Refuse a file before a runtime sees it. Raises ArtifactError if it is damaged or forged, or, if `REQUIRED_KEY`
    demands it, not released by its owner.
    """
    key = required_key()
    if key is not None:
        from cxr_edge.artifacts.release import require_released

        require_released(path, key)
    require_sound(path)


def require_possible_threads(threads: int) -> None:
    """Raises OptionError for a number of threads per inference that no runtime survives."""
    most = max(MAX_THREADS, usable_cores())
    if not 1 <= threads <= most:
        raise OptionError(f"--threads {threads}: must be from 1 to {most}; this machine has {usable_cores()} cores")


@cache
def all_runtimes() -> tuple[Runtime, ...]:
    """Every runtime known to this version, on the CPU, installed or not, in order of preference."""
    import cxr_edge.runtimes

    names = [module.name for module in pkgutil.iter_modules(cxr_edge.runtimes.__path__)]
    modules = [importlib.import_module(f"cxr_edge.runtimes.{name}") for name in names if name.endswith(_SUFFIX)]
    return tuple(sorted((module.RUNTIME for module in modules), key=lambda runtime: runtime.preference))


def every_runtime() -> list[Runtime]:
    """Each runtime with each of its providers."""
    return [each for runtime in all_runtimes() for each in runtime.each_provider()]


def runtime_named(name: str) -> Runtime:
    """A runtime by its name on the command line, such as `onnx` or `onnx:cuda`. Raises OptionError if unknown."""
    bare_name, _, provider = name.lower().replace("-", "_").replace(" ", "_").partition(":")
    for runtime in every_runtime():
        if bare_name in (runtime.name, runtime.package, runtime.extra) and runtime.provider == (provider or CPU):
            return runtime
    raise OptionError(f"runtime {name}: {nearest(name, (runtime.option for runtime in every_runtime()))}")


def runtimes_for(kind: str) -> list[Runtime]:
    """The installed runtimes that read a format, on the CPU, in order of preference.

    Raises:
        MissingDependencyError: none is installed.
    """
    readers = [runtime for runtime in all_runtimes() if kind in runtime.formats]
    installed = [runtime for runtime in readers if runtime.installed()]
    if not installed:
        raise MissingDependencyError(f"a runtime for .{kind} files ({readers[0].label})", readers[0].extra)
    return installed
