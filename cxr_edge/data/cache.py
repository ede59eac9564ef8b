"""Decode each image once: a memory-mapped uint8 array, keyed by the images' content and the imaging rule."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge import imaging
from cxr_edge.data.layouts import PARTS
from cxr_edge.data.split import Split, SplitItem
from cxr_edge.errors import DataError, ImageError, unusable
from cxr_edge.files import replacing, sha256_of


def cache_folder() -> Path:
    """`$CXR_EDGE_CACHE`, or `cxr-edge` under the XDG cache folder."""
    chosen = os.environ.get("CXR_EDGE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-edge"


def decode_all(
    paths: Sequence[Path],
    size: int,
    into: NDArray[np.uint8],
    on_image: Callable[[], None] | None = None,
    resize: str = imaging.STRETCH,
) -> dict[int, str]:
    """Decode `paths` into uint8 `[N, size, size, 1]` in parallel, by the imaging rule with `resize`.

    Returns:
        Of each file that cannot be decoded, by its index, the reason, which names it; its pixels are then undefined.

    Raises:
        MissingDependencyError: what reads some files' format is not installed.
    """
    bad: dict[int, str] = {}

    def decode(index: int) -> None:
        try:
            into[index, :, :, 0] = imaging.load_image(paths[index], size, resize)
        except ImageError as error:
            bad[index] = str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(paths))):
            if on_image:
                on_image()
    return dict(sorted(bad.items()))


def refuse(bad: dict[int, str], images: int, way_out: str = "mend or remove them") -> None:
    """Raises DataError, which names them, where `decode_all` found files that cannot be decoded."""
    if bad:
        raise unusable(list(bad.values()), images, way_out)


@contextmanager
def scratch_images(count: int, size: int) -> Iterator[NDArray[np.uint8]]:
    """uint8 `[count, size, size, 1]` on the cache's disk, gone at the end."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_folder()) as file:
        yield np.memmap(file, np.uint8, "w+", shape=(count, size, size, 1))


@lru_cache
def _check_unchanged(root: Path, items: tuple[SplitItem, ...]) -> None:
    """Once a process: the pixels in the cache are right in any case, but results would be told of files that are not.

    Raises:
        DataError: files are missing, or have another content than when the split was written.
    """

    def differs(item: SplitItem) -> bool:
        path = root / item.path
        return not path.is_file() or sha256_of(path) != item.sha256

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        changed = [item.path for item, other in zip(items, pool.map(differs, items), strict=True) if other]
    if changed:
        raise DataError(
            f"{root}: {len(changed)} images are missing or changed since the split was written, the first is "
            f"{changed[0]}; put them back, or train a new run on the data as it is now"
        )


def _cache_file(items: Sequence[SplitItem], size: int, resize: str) -> Path:
    content = [imaging.rule_of(resize), size, [item.sha256 for item in items]]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return cache_folder() / f"{key[:32]}.npy"


def keep(split: Split, images: NDArray[np.uint8], rows: dict[str, int]) -> None:
    """Put images that are decoded already, `[N, size, size, 1]`, where `decoded` finds them; `rows` has their paths."""
    for part in PARTS:
        items = split.part(part)
        path = _cache_file(items, images.shape[1], split.resize)
        if items and not path.is_file():
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, images[[rows[item.path] for item in items]])


def is_decoded(split: Split, part: str, size: int) -> bool:
    """Whether `decoded` would find the images of a part of a split in the cache."""
    return _cache_file(split.part(part), size, split.resize).is_file()


def decoded(split: Split, part: str, size: int, on_image: Callable[[], None] | None = None) -> NDArray[np.uint8]:
    """The images of one part of a split.

    Returns:
        uint8 `[N, size, size, 1]`, memory-mapped read-only, in the order of `split.part(part)`.

    Raises:
        DataError: images that cannot be decoded, or that changed since the split was written.
    """
    items = split.part(part)
    _check_unchanged(split.root, items)
    path = _cache_file(items, size, split.resize)
    if not path.is_file():
        images = np.empty((len(items), size, size, 1), dtype=np.uint8)
        paths = [split.root / item.path for item in items]
        refuse(decode_all(paths, size, images, on_image, split.resize), len(items))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, images)
    cached: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return cached
