"""Files that are new to this machine in a process of their own first: what crashes there ends nothing here."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType

import numpy as np

from cxr_edge.artifacts.contract import ANY, IMAGE
from cxr_edge.artifacts.release import required_key
from cxr_edge.errors import ArtifactError, CacheError, ProviderError
from cxr_edge.files import cache_folder, sha256_of, write_text
from cxr_edge.processes import command_of
from cxr_edge.runtimes.accelerators import Ask, Request, Worker
from cxr_edge.runtimes.base import CPU, Runtime, require_loadable
from cxr_edge.structure.check import structure_of

#: What the process may take: of memory, and of seconds to load a file or to run it.
_MEMORY, _PATIENCE = 4 << 30, 60.0

#: What survived in this process's time, for those who have no cache to remember it in.
_survived: set[str] = set()


class Trial:
    """Loads files in another process and runs them there, all in the same one as long as it lives.

    To be used as a context. What went well is remembered in the cache, by the file's hash and the runtime's version.
    An accelerator has a process of its own anyway, and is passed over.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def require_known(self, path: Path, runtime: Runtime) -> None:
        """As `require_survivable`, but for what its owner signed, where signatures are asked for: they vouch for it."""
        if required_key() is None:
            self.require_survivable(path, runtime)

    def require_survivable(self, path: Path, runtime: Runtime) -> None:
        """Try a file on a runtime that reads it, unless it was tried on this machine before.

        Raises:
            ArtifactError: the process died of it, or did not answer; the runtime cannot read it; or as
                `require_loadable`.
        """
        if runtime.provider != CPU:
            return
        key = _key(path, runtime)
        if key in _survived:
            return
        # A service may have no folder to write to: then each process tries anew.
        with suppress(CacheError, OSError):
            if _memory(key).exists():
                return
        require_loadable(path)
        self._try(path, runtime)
        _survived.add(key)
        with suppress(CacheError, OSError):
            write_text(_memory(key), f"{path.name} on {runtime.title}\n")

    def _try(self, path: Path, runtime: Runtime) -> None:
        batches = _batches(path)
        self._worker = self._worker or Worker("a trial", command_of("cxr_edge.runtimes.trial"), _PATIENCE)
        try:
            # A file of another tool has other ends, and need not be taken by this package.
            with suppress(*() if batches else (ArtifactError,)):
                self._worker.ask(Request(Ask.LOAD, runtime.option, path, 1))
            for images in batches:
                self._worker.ask(Request(Ask.RUN, runtime.option, images=images))
        except ProviderError as error:
            self._close()
            raise ArtifactError(
                f"{path}: brings {runtime.title} down ({error}); export it again, or remove it"
            ) from None

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _batches(path: Path) -> list[np.ndarray]:
    """What to run an artifact on: black, and together with noise where it takes several; nothing for other graphs."""
    inputs = structure_of(path).inputs
    if len(inputs) != 1 or (inputs[0].name, inputs[0].type, len(inputs[0].shape)) != (IMAGE, "uint8", 4):
        return []
    number, *size = inputs[0].shape
    if ANY in size:
        return []
    black = np.zeros((1, *map(int, size)), np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, black.shape, np.uint8)
    return [black, np.concatenate([black, noise])] if number == ANY else [black]


def _key(path: Path, runtime: Runtime) -> str:
    state = path.stat()
    sha256 = _sha256(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    return hashlib.sha256(f"{sha256} {runtime.option} {runtime.adapter.version()}".encode()).hexdigest()[:16]


@cache
def _sha256(path: Path, *state: int) -> str:
    """Once a file: sessions are loaded again and again, and their time is measured."""
    return sha256_of(path)


def _memory(key: str) -> Path:
    return cache_folder() / f"tried-{key}"


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        # The system may allow less already.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    from cxr_edge.runtimes import accelerators

    _limit_memory()
    accelerators.serve()
