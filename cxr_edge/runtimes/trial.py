"""Try files that are new to this machine in a separate process first: a crash there does no harm here."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.artifacts.contract import ANY, IMAGE, PROBABILITIES
from cxr_edge.artifacts.required_key import required_key
from cxr_edge.artifacts.validation import MAX_IMAGE_SIZE
from cxr_edge.errors import ArtifactError, CacheError, ProviderError
from cxr_edge.files import cache_folder, sha256_of, write_text
from cxr_edge.processes import command_of
from cxr_edge.runtimes.base import CPU, Runtime, require_loadable
from cxr_edge.structure.check import structure_of

if TYPE_CHECKING:
    from cxr_edge.runtimes.accelerators import Worker

#: Limits of the process: memory, and seconds to load or run a file.
_MEMORY, _PATIENCE = 4 << 30, 60.0

#: Keys of the trials that this process passed, for users without a writable cache.
_survived: set[str] = set()


class Trial:
    """Loads and runs files in a separate process, which is reused until it crashes.

    Use it as a context manager. Successes are remembered in the cache, by the file's hash and the runtime's version. An
    accelerator has a separate process anyway, and is skipped.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def require_known(self, path: Path, runtime: Runtime, sha256: str | None = None) -> None:
        """As `require_survivable`, but skips files with a required signature: their owner vouches for them."""
        if required_key() is None:
            self.require_survivable(path, runtime, sha256)

    def require_survivable(self, path: Path, runtime: Runtime, sha256: str | None = None) -> None:
        """Try a file on a runtime that reads it, unless it has been tried on this machine before.

        Args:
            path: the file.
            runtime: tried on the CPU.
            sha256: of the file, if the caller has just computed it.

        Raises:
            ArtifactError: the process crashed or did not answer; the runtime cannot read the file; or as
                `require_loadable`.
            MissingDependencyError, ProviderError: the runtime cannot be imported.
        """
        if runtime.provider == CPU:
            self._require(path, runtime, sha256 or _sha256(path), runs=True)

    def require_openable(self, path: Path, runtime: Runtime) -> None:
        """As `require_known`, for a file that is only inspected: it is loaded, but with no images.

        A file of another tool may have our input and output, and even our metadata, and not compute on every CPU.
        """
        if required_key() is None:
            self._require(path, runtime, _sha256(path), runs=False)

    def _require(self, path: Path, runtime: Runtime, sha256: str, runs: bool) -> None:
        runtime.prepare()
        key = _key(sha256, runtime, runs)
        if key in _survived:
            return
        # A service may have no writable folder: then each process tries again.
        with suppress(CacheError, OSError):
            if _passed_file(key).exists():
                return
        require_loadable(path)
        self._try(path, runtime, _batches(path) if runs else [])
        _survived.add(key)
        with suppress(CacheError, OSError):
            write_text(_passed_file(key), f"{path.name} on {runtime.title}\n")

    def _try(self, path: Path, runtime: Runtime, batches: list[np.ndarray]) -> None:
        from cxr_edge.runtimes.accelerators import Ask, Request

        self._worker = self._worker or start_worker()
        try:
            # A file from another tool has other inputs and outputs, which a session need not accept.
            self._worker.ask(Request(Ask.LOAD if batches else Ask.OPEN, runtime.option, path, 1))
            for images in batches:
                self._worker.ask(Request(Ask.RUN, runtime.option, images=images))
        except ProviderError as error:
            self._close()
            raise ArtifactError(f"{path}: crashes {runtime.title} ({error}); export it again, or remove it") from None

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def start_worker() -> Worker:
    """The process in which files are tried."""
    # Imported only for a file that is new to this machine.
    from cxr_edge.runtimes.accelerators import Worker

    return Worker("a trial", command_of("cxr_edge.runtimes.trial"), _PATIENCE)


def _batches(path: Path) -> list[np.ndarray]:
    """Inputs to try an artifact on: black, then black with noise if it takes several; none for other graphs."""
    structure = structure_of(path)
    inputs = structure.inputs
    if len(inputs) != 1 or (inputs[0].name, inputs[0].type, len(inputs[0].shape)) != (IMAGE, "uint8", 4):
        return []
    # An image network of another tool may share the input, of any size, but not the output.
    if PROBABILITIES not in [output.name for output in structure.outputs]:
        return []
    number, *size = inputs[0].shape
    height, width, channels = (0 if length == ANY else int(length) for length in size)
    if channels != 1 or not 0 < height <= MAX_IMAGE_SIZE or not 0 < width <= MAX_IMAGE_SIZE:
        return []
    black = np.zeros((1, height, width, channels), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    return [black, np.concatenate([black, noise])] if number == ANY else [black]


def _key(sha256: str, runtime: Runtime, runs: bool) -> str:
    how = "" if runs else " opened"
    return hashlib.sha256(f"{sha256} {runtime.option} {runtime.adapter.version()}{how}".encode()).hexdigest()[:16]


def _sha256(path: Path) -> str:
    """SHA-256, computed once per file: sessions are loaded repeatedly, and their loading time is measured."""
    state = path.stat()
    return _sha256_in(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


@cache
def _sha256_in(path: Path, *state: int) -> str:
    return sha256_of(path)


def _passed_file(key: str) -> Path:
    return cache_folder() / f"tried-{key}"


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        # The system's own limit may be lower.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    from cxr_edge.runtimes import accelerators

    _limit_memory()
    accelerators.serve()
