"""Accelerators in a separate process: some drivers crash the process when it exits, and lose its results.

A Vulkan driver, TensorFlow and LiteRT's attempt at a GPU in one process end in `free(): invalid pointer`, whether or
not the GPU came up. `python -m cxr_edge.runtimes.accelerators` is the other side: it answers pickled requests on its
standard streams, only from the process that started it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError, CxrEdgeError, ProviderError, first_line
from cxr_edge.processes import command_of
from cxr_edge.runtimes.base import ArtifactSession, Runtime, runtime_named

if TYPE_CHECKING:
    from cxr_edge.runtimes.vulkan import GPUAdapter

_PATIENCE_SECONDS = 5.0


class Ask(StrEnum):
    """The kinds of requests to the worker process."""

    STATE = "state"
    LOAD = "load"
    OPEN = "open"
    RUN = "run"
    EXPLAIN = "explain"
    PLACEMENT = "placement"


@dataclass(frozen=True)
class Request:
    """`option` names the runtime, `path` and `threads` say what to load, `images` are uint8 `[N, S, S, 1]`."""

    ask: Ask
    option: str = ""
    path: Path = Path()
    threads: int = 1
    images: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Reply:
    """The answer and the time it took in the worker, or the message of a provider or artifact error."""

    value: Any = None
    seconds: float = 0.0
    error: str | None = None
    of_provider: bool = False


@dataclass(frozen=True)
class AcceleratorState:
    """Why an accelerator is unavailable here, None if no obstacle is known; and the adapter that it computes on, if its
    runtime names one.
    """

    missing: str | None
    gpu: GPUAdapter | None = None


class Worker:
    """The worker process. It ends with this object, or with the process that holds it.

    Args:
        title: what runs there, for messages.
        command: the command to start; None for this module's.
        patience: seconds without an answer before it is killed; None for never.
    """

    def __init__(self, title: str, command: Sequence[str] | None = None, patience: float | None = None) -> None:
        self._title = title
        # Driver output does not reach the terminal: only the last line from a process that died is shown.
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command or command_of("cxr_edge.runtimes.accelerators"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
        )
        self.close = weakref.finalize(self, _end, self._process)
        self._patience = patience

    def ask(self, request: Request) -> Reply:
        """The answer to a request. Raises ProviderError or ArtifactError if it failed or the process died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            with self._limited_time():
                pickle.dump(request, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                self._process.stdin.flush()
                reply: Reply = pickle.load(self._process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            raise ProviderError(f"{request.option or self._title}: its process ended ({self._last_words()})") from None
        if reply.error is not None:
            raise (ProviderError if reply.of_provider else ArtifactError)(reply.error)
        return reply

    @contextmanager
    def _limited_time(self) -> Iterator[None]:
        if self._patience is None:
            yield
            return
        timer = threading.Timer(self._patience, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _last_words(self) -> str:
        try:
            status = self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            return "it does not answer"
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        last_line = f": {lines[-1][:200]}" if lines else ""
        return (f"killed by signal {-status}" if status < 0 else f"exit status {status}") + last_line


def _end(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:
            continue
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class RemoteSession:
    """An artifact loaded in a separate process; `timed_run` excludes communication."""

    def __init__(self, runtime: Runtime, path: Path, threads: int, command: Sequence[str] | None = None) -> None:
        self._worker, self._option = Worker(runtime.title, command), runtime.option
        self.ran_on: str = self._worker.ask(Request(Ask.LOAD, runtime.option, path, threads)).value

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.timed_run(images)[0]

    def timed_run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """As `run`, with the seconds that the inference itself took."""
        reply = self._worker.ask(Request(Ask.RUN, self._option, images=images))
        return reply.value, reply.seconds

    def explain(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, heatmap = self._worker.ask(Request(Ask.EXPLAIN, self._option, images=images)).value
        return probabilities, heatmap

    def in_software(self) -> bool:
        """Whether it computes on the CPU after all, through a software adapter."""
        gpu = self._worker.ask(Request(Ask.STATE, self._option)).value.gpu
        return gpu is not None and gpu.is_software

    def placement(self, image: NDArray[np.uint8]) -> dict[str, int]:
        """As `Adapter.placement`, for the loaded artifact."""
        nodes: dict[str, int] = self._worker.ask(Request(Ask.PLACEMENT, self._option, images=image)).value
        return nodes


def load_apart(runtime: Runtime, path: Path, threads: int) -> RemoteSession:
    """An artifact on an accelerator, in a separate process. Raises ProviderError, ArtifactError."""
    return RemoteSession(runtime, path, threads)


def accelerator_states(runtimes: Sequence[Runtime]) -> dict[str, AcceleratorState]:
    """The state of each accelerator here, by its `option`.

    One process answers for all; if an accelerator crashes it, a new one continues with the next accelerator.
    """
    states: dict[str, AcceleratorState] = {}
    worker: Worker | None = None
    for runtime in runtimes:
        worker = worker or Worker(runtime.title)
        try:
            states[runtime.option] = worker.ask(Request(Ask.STATE, runtime.option)).value
        except CxrEdgeError as error:
            states[runtime.option] = AcceleratorState(str(error))
            worker.close()
            worker = None
    if worker is not None:
        worker.close()
    return states


@contextmanager
def _streams() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Requests and replies. Driver output on stdout must not end up among the replies."""
    with os.fdopen(os.dup(0), "rb") as requests, os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        yield requests, replies


class _Server:
    """The state of the worker process: what it has loaded."""

    def __init__(self) -> None:
        self._loaded: tuple[Runtime, Request, ArtifactSession] | None = None

    def answer(self, request: Request) -> Reply:
        start = time.perf_counter()
        value = self._value(request)
        return Reply(value, time.perf_counter() - start)

    def _value(self, request: Request) -> Any:
        if request.ask is Ask.STATE:
            runtime = runtime_named(request.option)
            runtime.prepare()
            missing = runtime.adapter.missing(runtime.provider)
            return AcceleratorState(missing, None if missing else runtime.adapter.gpu(runtime.provider))
        if request.ask is Ask.LOAD:
            runtime = runtime_named(request.option)
            session = runtime.load_here(request.path, request.threads)
            self._loaded = (runtime, request, session)
            return session.ran_on
        if request.ask is Ask.OPEN:
            return runtime_named(request.option).open_here(request.path)
        assert self._loaded is not None and request.images is not None
        runtime, loaded, session = self._loaded
        if request.ask is Ask.RUN:
            return session.run(request.images)
        if request.ask is Ask.EXPLAIN:
            return session.explain(request.images)
        return runtime.adapter.placement(loaded.path, loaded.threads, runtime.provider, request.images)


def serve() -> None:
    """Answer until the requests end; then exit without the drivers' own cleanup, which is what crashes."""
    server = _Server()
    with _streams() as (requests, replies):
        while True:
            try:
                request = pickle.load(requests)
            except EOFError:
                break
            try:
                reply = server.answer(request)
            except CxrEdgeError as error:
                reply = Reply(error=str(error), of_provider=not isinstance(error, ArtifactError))
            except Exception as error:
                reply = Reply(error=f"{request.option}: {first_line(error)}", of_provider=True)
            pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
            replies.flush()
        os._exit(0)


if __name__ == "__main__":
    # Pickled under the module name that the other side knows, which `__main__` is not.
    from cxr_edge.runtimes import accelerators

    accelerators.serve()
