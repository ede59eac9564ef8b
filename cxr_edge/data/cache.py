"""Decode each image once: a memory-mapped uint8 array, keyed by the images' content and the imaging rule."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge import imaging
from cxr_edge.data.split import Split
from cxr_edge.errors import DataError, ImageError, unusable
from cxr_edge.files import replacing, sha256_of


def cache_folder() -> Path:
    """`$CXR_EDGE_CACHE`, or `cxr-edge` under the XDG cache folder."""
    chosen = os.environ.get("CXR_EDGE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-edge"


def decode_all(
    paths: Sequence[Path], size: int, into: NDArray[np.uint8], on_image: Callable[[], None] | None = None
) -> None:
    """Decode `paths` into uint8 `[N, size, size, 1]` in parallel.

    Raises:
        DataError: one or more files cannot be decoded; the message names them.
    """
    bad: list[str] = []

    def decode(index: int) -> None:
        try:
            into[index, :, :, 0] = imaging.load_image(paths[index], size)
        except ImageError as error:
            bad.append(str(error))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(paths))):
            if on_image:
                on_image()
    if bad:
        raise unusable(bad, len(paths))


def _differs(path: Path, sha256: str) -> bool:
    return not path.is_file() or sha256_of(path) != sha256


def decoded(split: Split, part: str, size: int, on_image: Callable[[], None] | None = None) -> NDArray[np.uint8]:
    """The images of one part of a split.

    Returns:
        uint8 `[N, size, size, 1]`, memory-mapped read-only, in the order of `split.part(part)`.

    Raises:
        DataError: images that cannot be decoded, or that changed since the split was written.
    """
    items = split.part(part)
    key = hashlib.sha256(json.dumps([imaging.RULE, size, [item.sha256 for item in items]]).encode()).hexdigest()
    path = cache_folder() / f"{key[:32]}.npy"
    if not path.is_file():
        changed = [item.path for item in items if _differs(split.root / item.path, item.sha256)]
        if changed:
            raise DataError(
                f"{split.root}: {len(changed)} images are missing or changed since the split was written, "
                f"the first is {changed[0]}; train a new run on the data as it is now"
            )
        images = np.empty((len(items), size, size, 1), dtype=np.uint8)
        decode_all([split.root / item.path for item in items], size, images, on_image)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, images)
    cached: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return cached
