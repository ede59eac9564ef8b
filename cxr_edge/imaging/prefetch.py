"""Decode the next files while the last ones are classified."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.imaging.decode import load_image
from cxr_edge.imaging.rule import STRETCH

if TYPE_CHECKING:
    from concurrent.futures import Future

#: Files decoded ahead of the one that is classified: enough to ride out one large file among small ones.
_AHEAD = 4


def decoded_ahead(paths: Sequence[Path], size: int, workers: int, resize: str = STRETCH) -> Iterator[NDArray[np.uint8]]:
    """Each file as uint8 `[1, size, size, 1]`, in order; some are decoded while the caller works on the last.

    Pillow's decoders and its resize release Python's lock, so threads do.

    Args:
        paths: image files.
        size: of the artifact's input.
        workers: decoding threads.
        resize: how the artifact wants them, of `imaging.rule.RESIZES`.

    Raises:
        ImageError: a file cannot be decoded, when its turn comes.
    """
    if len(paths) == 1:
        # No threads, and no time to import them, for the shortest command there is.
        yield load_image(paths[0], size, resize)[None, :, :, None]
        return
    from concurrent.futures import ThreadPoolExecutor

    waiting: deque[Future[NDArray[np.uint8]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(load_image, path, size, resize))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()[None, :, :, None]
            while waiting:
                yield waiting.popleft().result()[None, :, :, None]
        finally:
            for future in waiting:
                future.cancel()
