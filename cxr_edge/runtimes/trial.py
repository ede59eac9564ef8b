"""Files of unknown origin in a process of their own first: what crashes there ends nothing here."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import is_listed
from cxr_edge.errors import ArtifactError, CacheError, ProviderError
from cxr_edge.files import cache_folder, write_text
from cxr_edge.runtimes.accelerators import Ask, Request, Worker
from cxr_edge.runtimes.base import Runtime
from cxr_edge.structure.check import require_sound

#: What the process may take: of memory, and of seconds to load the file and run it once.
_MEMORY, _PATIENCE = 4 << 30, 60.0


def try_loose(artifact: Artifact, runtimes: Sequence[Runtime]) -> None:
    """Run a file that no manifest lists on black, once on each of some runtimes that read it, in another process.

    What went well is remembered, by the file's hash and the runtime's version.

    Raises:
        ArtifactError: the process died of it, or did not answer; or the file is damaged.
    """
    if is_listed(artifact.path):
        return
    for runtime in runtimes:
        if artifact.format in runtime.formats and runtime.installed():
            # A service may have no folder to write to: then each process tries anew.
            with suppress(CacheError, OSError):
                if _memory(artifact, runtime).exists():
                    continue
            try_apart(artifact.path, runtime, artifact.image_size)
            with suppress(CacheError, OSError):
                write_text(_memory(artifact, runtime), f"{artifact.path.name} on {runtime.title}\n")


def try_apart(path: Path, runtime: Runtime, size: int | None) -> None:
    """Load a file in another process, and run it on black of a size.

    Args:
        path: the file.
        runtime: what loads it.
        size: of the image; None for a file of another tool, which is loaded only, and may be refused.

    Raises:
        ArtifactError: the process died of it, or did not answer; or the file is damaged.
    """
    require_sound(path)
    worker = Worker(runtime.title, [sys.executable, "-m", "cxr_edge.runtimes.trial"], _PATIENCE)
    try:
        with suppress(*() if size else (ArtifactError,)):
            worker.ask(Request(Ask.LOAD, runtime.option, path, 1))
        if size:
            worker.ask(Request(Ask.RUN, runtime.option, images=np.zeros((1, size, size, 1), np.uint8)))
    except ProviderError as error:
        raise ArtifactError(f"{path}: brings {runtime.title} down ({error}); export it again, or remove it") from None
    finally:
        worker.close()


def _memory(artifact: Artifact, runtime: Runtime) -> Path:
    key = f"{artifact.sha256} {runtime.option} {runtime.adapter.version()}"
    return cache_folder() / f"tried-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


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
