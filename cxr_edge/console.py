"""What is shown on stderr while a command runs: progress bars with time left.

Nothing of what native libraries write by themselves, unless something fails.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

#: Control characters, and those that a terminal obeys in silence: they could rewrite lines, or their order.
_OBEYED = {"Cc", "Cf", "Zl", "Zp", "Cs"}


def printable(text: str) -> str:
    """Text with what a terminal would obey shown as escapes: names of files come from elsewhere, and may hold any."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii") if unicodedata.category(character) in _OBEYED else character
        for character in text
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what is written to the stderr file descriptor in the body; it is shown if the body raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(kept, file.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


class Bar:
    """One bar: advance it, and show a short text at its end."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=printable(text))

    @property
    def tick(self) -> Callable[[], None]:
        """A callback that advances by one."""
        return lambda: self.advance()


@contextmanager
def working(title: str) -> Iterator[None]:
    """Show that something runs that cannot say how far it is; one line with its time at the end."""
    start = time.monotonic()
    console = Console(stderr=True)
    # A stream of its own: the body may hold back what is written to the stderr file descriptor.
    with (
        os.fdopen(os.dup(2), "w") as stream,
        Console(file=stream, force_terminal=console.is_terminal).status(Text(printable(title))),
    ):
        yield
    console.print(Text(f"{printable(title)}: {time.monotonic() - start:.1f} s"))


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Bar]:
    """Show a bar up to `total` while the body runs. Without a terminal, one line at the end."""
    start = time.monotonic()
    console = Console(stderr=True)
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
        task = progress.add_task(printable(title), total=total, note="")
        bar = Bar(progress, task)
        yield bar
    if not console.is_terminal:
        note = progress.tasks[0].fields["note"]
        seconds = time.monotonic() - start
        console.print(Text(f"{printable(title)}: {seconds:.1f} s{', ' + note if note else ''}"))
