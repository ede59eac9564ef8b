"""The images of a run's split, decoded once; refused if the files changed since the split was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from cxr_edge.data.decode import refuse
from cxr_edge.data.split import Split, SplitItem
from cxr_edge.data.store import DecodedImages, ImageStore
from cxr_edge.errors import DataError
from cxr_edge.files import sha256_of
from cxr_edge.processors import usable_cores


def _changed(root: Path, items: Sequence[str]) -> DataError:
    return DataError(
        f"{root}: images are missing or changed since the split was written: {len(items)}, such as {items[0]}; put "
        "them back, or train a new run on the data as it is now"
    )


@lru_cache
def _check_unchanged(root: Path, items: tuple[SplitItem, ...]) -> None:
    """Once per process: the cached pixels are right in any case, but results would name files that have changed.

    Raises:
        DataError: files are missing, or their content changed since the split was written.
    """

    def differs(item: SplitItem) -> bool:
        path = root / item.path
        return not path.is_file() or sha256_of(path) != item.sha256

    with ThreadPoolExecutor(usable_cores()) as pool:
        changed = [item.path for item, is_changed in zip(items, pool.map(differs, items), strict=True) if is_changed]
    if changed:
        raise _changed(root, changed)


def is_decoded(split: Split, part: str, size: int) -> bool:
    """Whether the cache holds all images of a part of a split."""
    return not ImageStore(size, split.resize).lacks([item.sha256 for item in split.part(part)])


def decoded(split: Split, part: str, size: int, on_image: Callable[[], None] | None = None) -> DecodedImages:
    """The uint8 images of one part of a split, `[N, size, size, 1]`, in the order of `split.part(part)`.

    Raises:
        DataError: images cannot be decoded, or changed since the split was written.
        CacheError: the cache is damaged, or its disk is full.
    """
    items = split.part(part)
    _check_unchanged(split.root, items)
    store = ImageStore(size, split.resize)
    lacking = [items[index] for index in store.lacks([item.sha256 for item in items])]
    if on_image is not None:
        for _ in range(len(items) - len(lacking)):
            on_image()
    if lacking:
        digests, bad = store.add([split.root / item.path for item in lacking], on_image)
        refuse(bad, len(items))
        changed = [item.path for item, digest in zip(lacking, digests, strict=True) if item.sha256 != digest]
        if changed:
            raise _changed(split.root, changed)
    return store.images([item.sha256 for item in items])
