"""Decode the next files while earlier ones are classified."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.imaging.decode import load_image
from cxr_edge.imaging.rule import STRETCH

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


def decoded_ahead(paths: Sequence[Path], size: int, workers: int, resize: str = STRETCH) -> Iterator[NDArray[np.uint8]]:
    """Each file as uint8 `[1, size, size, 1]`, read ahead.

    Args:
        paths: image files.
        size: the artifact's input size.
        workers: decoding threads.
        resize: the artifact's resizing method, one of `imaging.rule.RESIZES`.

    Raises:
        ImageError: when the turn of a file comes that cannot be decoded.
    """
    return read_ahead(lambda path: load_image(path, size, resize)[None, :, :, None], paths, workers)
