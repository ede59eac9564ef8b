"""Progress, reported to the caller: computation takes a `Stage` as an argument, and shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Steps(Protocol):
    """A stage of many steps."""

    @property
    def tick(self) -> Callable[[], None]:
        """A callback that says that one is done."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Some are done."""

    def note(self, text: str) -> None:
        """A short text on how it goes."""


class _Silent:
    @property
    def tick(self) -> Callable[[], None]:
        return lambda: None

    def advance(self, steps: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


#: Opened around a stage, by its title and the number of its steps, None where nobody knows; `console.stage` is one.
Stage = Callable[[str, int | None], AbstractContextManager[Steps]]


def silently(title: str, steps: int | None) -> AbstractContextManager[Steps]:
    """The `Stage` that shows nothing."""
    return nullcontext(_Silent())
