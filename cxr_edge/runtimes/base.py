"""The protocol that every runtime obeys, and the choice among them."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError, MissingDependencyError, OptionError, first_line


class Session(Protocol):
    """A loaded model."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 `[N, S, S, 1]` to probabilities float32 `[N, K]`."""
        ...


class ArtifactSession(Session, Protocol):
    """A loaded artifact."""

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `run`, and the heat maps float32 `[N, H, W, K]` of an artifact that has them."""
        ...


class Loader(Protocol):
    """How a runtime loads a file, with a number of threads for one inference."""

    def __call__(self, path: Path, threads: int) -> ArtifactSession: ...


@dataclass(frozen=True)
class Runtime:
    """`name` as on the command line; `package` is imported, `extra` installs it, `formats` is what it reads."""

    name: str
    title: str
    package: str
    extra: str
    formats: tuple[str, ...]

    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def module(self) -> ModuleType:
        """The adapter of this runtime, which imports the runtime itself. Raises MissingDependencyError."""
        if not self.installed():
            raise MissingDependencyError(self.title, self.extra)
        return importlib.import_module(f"cxr_edge.runtimes.{self.name}")

    def load(self, path: Path, threads: int) -> ArtifactSession:
        """Load an artifact.

        Raises:
            MissingDependencyError: the runtime is not installed.
            ArtifactError: the runtime cannot read the file.
        """
        loader: Loader = self.module().load
        try:
            return loader(path, threads)
        except Exception as error:
            # onnxruntime's exceptions derive from nothing but Exception.
            raise ArtifactError(f"{path}: {self.title} cannot load it ({first_line(error)})") from None


#: In the order of preference where several can read an artifact.
RUNTIMES = (
    Runtime("litert", "LiteRT", "ai_edge_litert", "litert", ("tflite",)),
    Runtime("onnx_runtime", "ONNX Runtime", "onnxruntime", "onnx", ("onnx",)),
    Runtime("openvino_runtime", "OpenVINO", "openvino", "openvino", ("onnx", "tflite")),
)


def runtime_named(name: str) -> Runtime:
    """Raises OptionError for an unknown name."""
    for runtime in RUNTIMES:
        if name.lower().replace("-", "_").replace(" ", "_") in (runtime.name, runtime.package, runtime.extra):
            return runtime
    raise OptionError(f"runtime {name}: choose one of {', '.join(runtime.extra for runtime in RUNTIMES)}")


def runtimes_for(kind: str) -> list[Runtime]:
    """The installed runtimes that read a format, in the order of preference.

    Raises:
        MissingDependencyError: none is installed.
    """
    able = [runtime for runtime in RUNTIMES if kind in runtime.formats]
    installed = [runtime for runtime in able if runtime.installed()]
    if not installed:
        raise MissingDependencyError(f"a runtime for .{kind} files ({able[0].title})", able[0].extra)
    return installed
