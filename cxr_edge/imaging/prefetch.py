"""Decode the next files while the last ones are classified."""

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
#: Files decoded ahead of the one that is classified: enough to ride out one large file among small ones.
_AHEAD = 4


def read_ahead(read: Callable[[Source], Read], sources: Sequence[Source], workers: int) -> Iterator[Read]:
    """What `read` makes of each source, in order; some are read while the caller works on the last.

    Pillow's decoders and its resize release Python's lock, so threads do. What `read` raises is raised when its turn
    comes.
    """
    if len(sources) == 1:
        # No threads, and no time to import them, for the shortest command there is.
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
        size: of the artifact's input.
        workers: decoding threads.
        resize: how the artifact wants them, of `imaging.rule.RESIZES`.

    Raises:
        ImageError: a file cannot be decoded, when its turn comes.
    """
    return read_ahead(lambda path: load_image(path, size, resize)[None, :, :, None], paths, workers)
