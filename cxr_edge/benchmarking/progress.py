"""How a measurement says how far it is; who shows it is the caller's matter (`cxr_edge.console.progress_bar`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Steps(Protocol):
    """A part of the work under way."""

    def advance(self, steps: int = 1) -> None: ...


#: Begins a part of the work, by its title and number of steps.
Progress = Callable[[str, int], AbstractContextManager[Steps]]


class _Unseen:
    def advance(self, steps: int = 1) -> None:
        pass


@contextmanager
def unseen(title: str, steps: int) -> Iterator[Steps]:
    """Nobody watches."""
    yield _Unseen()
