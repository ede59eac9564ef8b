"""Decode the next files while earlier ones are classified."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Source = TypeVar("Source")
Read = TypeVar("Read")
#: Files decoded ahead of the one being classified: enough to absorb one large file among small ones.
_AHEAD = 4


def read_ahead(read: Callable[[Source], Read], sources: Sequence[Source], workers: int) -> Iterator[Read]:
    """The result of `read` for each source, in order, read ahead while the caller works on earlier ones.

    Pillow's decoders and its resize release Python's lock, so threads suffice. An exception from `read` is raised when
    its turn comes.
    """
    if len(sources) == 1:
        # No threads, nor the time to import them, for the shortest command.
        yield read(sources[0])
        return
    from concurrent.futures import ThreadPoolExecutor

    waiting: deque[Future[Read]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(read, source))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
