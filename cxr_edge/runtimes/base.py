"""The protocol that every runtime obeys, and the choice among them."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError, MissingDependencyError, OptionError, ProviderError, first_line

#: The provider that every runtime has.
CPU = "cpu"


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


class Adapter(Protocol):
    """What a runtime's module holds."""

    def load(self, path: Path, threads: int, provider: str) -> ArtifactSession:
        """Load a file for inferences with a number of threads, on exactly the provider that is named."""
        ...

    def missing(self, provider: str) -> str | None:
        """Why a provider cannot be had here, and what would bring it; None where nothing is known against it."""
        ...

    def version(self) -> str: ...


@dataclass(frozen=True)
class Runtime:
    """A way to run artifacts: a runtime, and the provider (its word may be delegate, accelerator or device) in it.

    `name` is that of its module, `package` is imported, `extra` installs it and is its name on the command line,
    `formats` is what it reads, `providers` are those it can be asked for, with the words that describe them.
    """

    name: str
    label: str
    package: str
    extra: str
    formats: tuple[str, ...]
    providers: tuple[tuple[str, str], ...]
    provider: str = CPU

    @property
    def title(self) -> str:
        """For people: the provider is named where it is not the CPU."""
        return self.label if self.provider == CPU else f"{self.label} {dict(self.providers)[self.provider]}"

    @property
    def option(self) -> str:
        """As on the command line."""
        return self.extra if self.provider == CPU else f"{self.extra}:{self.provider}"

    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def module(self) -> Adapter:
        """The adapter of this runtime, which imports the runtime itself. Raises MissingDependencyError."""
        if not self.installed():
            raise MissingDependencyError(self.label, self.extra)
        adapter: Any = importlib.import_module(f"cxr_edge.runtimes.{self.name}")
        return adapter  # type: ignore[no-any-return]

    def require(self) -> None:
        """Raises MissingDependencyError, or ProviderError where the provider cannot be had here."""
        reason = self.module().missing(self.provider)
        if reason is not None:
            raise ProviderError(f"{self.option}: {reason}")

    def load(self, path: Path, threads: int) -> ArtifactSession:
        """Load an artifact.

        Raises:
            MissingDependencyError: the runtime is not installed.
            ProviderError: it has not the provider that is asked for, or this did not come up.
            ArtifactError: the runtime cannot read the file.
        """
        adapter = self.module()
        if self.provider != CPU:
            self.require()
        try:
            return adapter.load(path, threads, self.provider)
        except ProviderError:
            raise
        except Exception as error:
            # onnxruntime's exceptions derive from nothing but Exception.
            raise ArtifactError(f"{path}: {self.title} cannot load it ({first_line(error)})") from None


_ON_CPU = (CPU, "CPU")
#: In the order of preference where several can read an artifact.
RUNTIMES = (
    Runtime("litert", "LiteRT", "ai_edge_litert", "litert", ("tflite",), (_ON_CPU, ("gpu", "WebGPU"))),
    Runtime(
        "onnx_runtime",
        "ONNX Runtime",
        "onnxruntime",
        "onnx",
        ("onnx",),
        (
            _ON_CPU,
            ("cuda", "CUDA"),
            ("tensorrt", "TensorRT"),
            ("openvino", "OpenVINO"),
            ("coreml", "CoreML"),
            ("xnnpack", "XNNPACK"),
        ),
    ),
    Runtime("openvino_runtime", "OpenVINO", "openvino", "openvino", ("onnx", "tflite"), (_ON_CPU, ("gpu", "GPU"))),
)


def every_runtime() -> list[Runtime]:
    """Each runtime with each of its providers."""
    return [replace(runtime, provider=provider) for runtime in RUNTIMES for provider, _ in runtime.providers]


def runtime_named(name: str) -> Runtime:
    """A runtime by its name on the command line, such as `onnx` or `onnx:cuda`. Raises OptionError for another."""
    wanted, _, provider = name.lower().replace("-", "_").replace(" ", "_").partition(":")
    for runtime in RUNTIMES:
        if wanted in (runtime.name, runtime.package, runtime.extra):
            if (provider or CPU) in dict(runtime.providers):
                return replace(runtime, provider=provider or CPU)
            break
    raise OptionError(f"runtime {name}: choose one of {', '.join(one.option for one in every_runtime())}")


def runtimes_for(kind: str) -> list[Runtime]:
    """The installed runtimes that read a format, on the CPU, in the order of preference.

    Raises:
        MissingDependencyError: none is installed.
    """
    able = [runtime for runtime in RUNTIMES if kind in runtime.formats]
    installed = [runtime for runtime in able if runtime.installed()]
    if not installed:
        raise MissingDependencyError(f"a runtime for .{kind} files ({able[0].label})", able[0].extra)
    return installed
