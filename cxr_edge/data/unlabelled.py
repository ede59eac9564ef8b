"""Unlabelled images, on which a student learns its teacher's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from cxr_edge.data.decode import refuse
from cxr_edge.data.layouts import x_ray_files
from cxr_edge.data.split import Split
from cxr_edge.data.store import ImageStore
from cxr_edge.errors import DataError


def unlabelled_images(
    folders: Sequence[Path], split: Split, size: int, on_image: Callable[[], None] | None = None
) -> tuple[str, ...]:
    """The SHA-256 of each image under some folders that is not in a split, sorted; they are in the store afterwards.

    Images of the split are recognized by content and left out: an image that evaluates a student must not train it.

    Raises:
        DataError: images cannot be decoded, or there are none.
        CacheError: the cache is damaged, or its disk is full.
    """
    paths = files_in(folders)
    digests, bad = ImageStore(size, split.resize).add(paths, on_image)
    refuse(bad, len(paths))
    usable = tuple(sorted(set(digests) - {item.sha256 for item in split.items}))
    if not usable:
        raise DataError(f"{', '.join(map(str, folders))}: no images other than the teacher's own data")
    return usable


def files_in(folders: Sequence[Path]) -> list[Path]:
    """The image files under some folders. Raises DataError if one of these is not a folder, or has no images."""
    paths: list[Path] = []
    for folder in folders:
        here = x_ray_files(folder) if folder.is_dir() else []
        if not here:
            raise DataError(f"{folder}: {'no images in this folder' if folder.is_dir() else 'no such folder'}")
        paths += here
    return paths


def unlabelled_sha256(digests: Sequence[str]) -> str:
    """The SHA-256 of a list of images' SHA-256, which identifies the set."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
