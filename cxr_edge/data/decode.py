"""Decode many files at once, into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.errors import ImageError, unusable
from cxr_edge.imaging.decode import open_grey, resized
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.processors import usable_cores


def decode_all(
    paths: Sequence[Path],
    size: int,
    into: NDArray[np.uint8],
    on_image: Callable[[], None] | None = None,
    resize: str = STRETCH,
    read: Callable[[Path], Image.Image] = open_grey,
) -> dict[int, str]:
    """Decode `paths` into uint8 `[N, size, size, 1]` in parallel, following the imaging rule with `resize`.

    `read` opens a file as grey, at its own size; it may be called from several threads at once.

    Returns:
        For each file that cannot be decoded, by index, the reason, which names the file; its pixels are undefined.

    Raises:
        MissingDependencyError: the reader for some files' format is not installed.
    """
    bad: dict[int, str] = {}

    def decode(index: int) -> None:
        try:
            into[index, :, :, 0] = resized(read(paths[index]), size, resize)
        except ImageError as error:
            bad[index] = str(error)

    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(decode, range(len(paths))):
            if on_image:
                on_image()
    return dict(sorted(bad.items()))


def refuse(bad: dict[int, str], images: int, way_out: str = "repair or remove them") -> None:
    """Raises DataError naming the files that cannot be decoded, if there are any."""
    if bad:
        raise unusable(list(bad.values()), images, way_out)
