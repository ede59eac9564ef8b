"""Report progress to the caller: computations take a `Stage` as an argument and show nothing themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Steps(Protocol):
    """A stage of many steps."""

    @property
    def tick(self) -> Callable[[], None]:
        """A callback to call after each step."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Report completed steps."""

    def note(self, text: str) -> None:
        """Show a short status text."""


class _Silent:
    @property
    def tick(self) -> Callable[[], None]:
        return lambda: None

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


#: Makes a context manager for a stage of the work from its title and number of steps (None if unknown), such as
#: `console.stage`.
Stage = Callable[[str, int | None], AbstractContextManager[Steps]]


def silently(title: str, steps: int | None) -> AbstractContextManager[Steps]:
    """The `Stage` that shows nothing."""
    return nullcontext(_Silent())


def titled(stage: Stage, prefix: str) -> Stage:
    """The stage, with a prefix before each title."""
    return lambda title, steps: stage(f"{prefix}: {title}", steps)
