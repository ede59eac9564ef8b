"""Output on stderr while a command runs: progress bars with time left, and one line on an interrupt.

Output of native libraries is held back unless something fails. Rich is imported only to show something: an answer to
one image takes only a few times as long as its import.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, auto
from types import FrameType
from typing import TYPE_CHECKING

from cxr_edge.progress import Steps, silently
from cxr_edge.wording import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Verbosity(Enum):
    """How much is shown while a command runs: nothing, progress, or also the output of native libraries."""

    QUIET = auto()
    NORMAL = auto()
    VERBOSE = auto()


_verbosity = Verbosity.NORMAL


def set_verbosity(verbosity: Verbosity) -> None:
    """Set the verbosity for the rest of this process."""
    global _verbosity
    _verbosity = verbosity


def is_verbose() -> bool:
    """Whether native libraries may write freely."""
    return _verbosity is Verbosity.VERBOSE


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, quiet=_verbosity is Verbosity.QUIET)


#: Control characters, and those that silently affect a terminal: they could rewrite or reorder lines.
_OBEYED = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def printable(text: str) -> str:
    """Text with terminal control characters escaped: file names come from elsewhere and may contain any."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _OBEYED else character
        for character in text
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back output to the stderr file descriptor in the body; it is shown if the body fails.

    With `--verbose` nothing is held back.
    """
    if is_verbose():
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


#: Seconds between progress lines in a log file.
LOG_INTERVAL = 60.0


class Bar:
    """A progress bar with a short note at its end; in a log file, an occasional line with the time left."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._start = self._logged = time.monotonic()
        self._done_before = progress.tasks[0].completed

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)
        task, now = self._progress.tasks[0], time.monotonic()
        if self._progress.disable and now - self._logged >= LOG_INTERVAL and not task.finished:
            self._logged = now
            note = task.fields["note"]
            self.say(f"{task.description}: {task.completed:.0f} of {task.total:.0f}{', ' + note if note else ''}")

    def _time_left(self) -> str | None:
        """Estimated from this process's steps, as it may have resumed a task; None before the first, or at the end."""
        task = self._progress.tasks[0]
        steps = task.completed - self._done_before
        if steps <= 0 or task.remaining is None or task.remaining <= 0:
            return None
        return f"{duration((time.monotonic() - self._start) / steps * task.remaining)} left"

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=printable(text))

    def say(self, text: str) -> None:
        """Print a permanent line above the bar; in a log file, a line that ends with the time left."""
        left = self._time_left() if self._progress.disable else None
        line = printable(text) + (f"; {left}" if left else "")
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def tick(self) -> Callable[[], None]:
        """A callback that advances by one."""
        return lambda: self.advance()


@contextmanager
def working(title: str) -> Iterator[None]:
    """Show that something of unknown length is running; one line with its time at the end."""
    from rich.console import Console
    from rich.text import Text

    start = time.monotonic()
    console = _stderr()
    # A separate stream: the body may hold back output to the stderr file descriptor.
    with (
        os.fdopen(os.dup(2), "w") as stream,
        Console(file=stream, force_terminal=console.is_terminal, quiet=console.quiet).status(Text(printable(title))),
    ):
        yield
    console.print(Text(f"{printable(title)}: {time.monotonic() - start:.1f} s"))


@contextmanager
def progress_bar(title: str, total: int, done: int = 0) -> Iterator[Bar]:
    """Show a bar from `done` up to `total` while the body runs. Without a terminal, one line at the end."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    start = time.monotonic()
    console = _stderr()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(printable(title), total=total, completed=done, note="")
        bar = Bar(progress, task)
        yield bar
    if not console.is_terminal:
        note = progress.tasks[0].fields["note"]
        seconds = time.monotonic() - start
        console.print(Text(f"{printable(title)}: {seconds:.1f} s{', ' + note if note else ''}"))


def stage(title: str, steps: int | None) -> AbstractContextManager[Steps]:
    """The `cxr_edge.progress.Stage` of a command: a bar, or a spinner if the number of steps is unknown."""
    return _working_steps(title) if steps is None else progress_bar(title, steps)


@contextmanager
def _working_steps(title: str) -> Iterator[Steps]:
    with working(title), silently(title, None) as steps:
        yield steps


class _Terminated(SystemExit):
    """SIGTERM was received."""


#: Seconds that an interrupted command may take to clean up. Its files are complete at any moment.
GRACE = 5.0


@contextmanager
def interruptible(explain: Callable[[], str]) -> Iterator[None]:
    """End the process with one line, `explain()`, and status 130 or 143, soon after SIGINT or SIGTERM.

    Python handles a signal only when native code returns, many seconds later in a step of TensorFlow, and then waits
    for threads. So a thread writes the line, and ends the process if it is still running after `GRACE` seconds. Must be
    entered in the main thread.
    """
    lock, finished = threading.Lock(), False
    # A separate stream: the body may hold back output to the stderr file descriptor.
    stderr = os.dup(2)

    def say() -> None:
        nonlocal finished
        with lock:
            if not finished:
                os.write(stderr, f"{printable(explain())}\n".encode(errors="replace"))
            finished = True

    def close() -> None:
        nonlocal finished
        with lock:
            finished = True
            os.close(stderr)

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated(128 + number)

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] in (signal.SIGINT, signal.SIGTERM):
                say()
                time.sleep(GRACE)
                os._exit(128 + number[0])
        os.close(reader)

    reader, writer = os.pipe()
    # Windows has it since Python 3.12, and demands it of no pipe.
    if hasattr(os, "set_blocking"):
        os.set_blocking(writer, False)
    threading.Thread(target=watch, daemon=True).start()
    kept_wakeup, kept_handler = signal.set_wakeup_fd(writer), signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        say()
        raise SystemExit(128 + signal.SIGINT) from None
    except _Terminated:
        say()
        raise
    finally:
        signal.set_wakeup_fd(kept_wakeup)
        signal.signal(signal.SIGTERM, kept_handler)
        os.close(writer)
        close()
