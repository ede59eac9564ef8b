"""The images on which an artifact is compared with its reference: parts of the split and other images, unshifted and
under shifts. None of this needs labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.decode import decode_all, refuse
from cxr_edge.data.layouts import PARTS, TABLE_SUFFIX, UnknownClassesError, find_data_set, x_ray_files
from cxr_edge.data.split import Split
from cxr_edge.data.store import DecodedImages
from cxr_edge.data.table import read_table
from cxr_edge.errors import DataError
from cxr_edge.evaluation.shifts import SUITE, Shift

#: The part whose labels the paired statistics use.
LABELLED_PART = "test"
#: The part that operating points are fitted on.
VALIDATION = "validation"
Tick = Callable[[], None]


@dataclass(frozen=True)
class Scope:
    """The maximum number of images to score per part of the split, unshifted (None for all) and under each shift.

    A subset is drawn with a fixed seed and balanced over the classes as far as possible: losses of a rare class such as
    COVID-19 must show up.
    """

    as_they_are: dict[str, int | None]
    shifted: dict[str, int]

    @classmethod
    def of_verify(cls, train_images: int, shift_images: int) -> Scope:
        """All of validation and test and some training images, and `shift_images` of each part under each shift."""
        return cls({"train": train_images, VALIDATION: None, LABELLED_PART: None}, dict.fromkeys(PARTS, shift_images))

    @classmethod
    def of_export(cls, phantoms: bool) -> Scope:
        """A cheaper scope without the training part; for phantoms, which prove nothing, cheaper still."""
        shifted = 20 if phantoms else 60
        return cls({LABELLED_PART: None, VALIDATION: None}, {VALIDATION: shifted, LABELLED_PART: shifted})

    @classmethod
    def of_folds(cls, shift_images: int) -> Scope:
        """Only the test part of a cross-validation's fold, which overlaps with no other fold's."""
        return cls({LABELLED_PART: None}, {LABELLED_PART: shift_images})

    @classmethod
    def of_labels(cls) -> Scope:
        """Only the part with labels."""
        return cls({LABELLED_PART: None}, {})


@dataclass(frozen=True)
class Condition:
    """Images `[N, S, S, 1]` of one part, unshifted or under a shift; only those at `rows` count."""

    part: str
    shift: Shift | None
    source: NDArray[np.uint8] | DecodedImages
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 `[n, S, S, 1]`, computed on each call: all shifts of all images at once would exhaust the memory."""
        images = np.asarray(self.source[self.rows])
        return images if self.shift is None else self.shift.apply(images)


@dataclass(frozen=True)
class OtherImages:
    """Images of a folder or table from elsewhere, uint8 `[N, S, S, 1]`; `targets` are label indices `[N]`, None without
    labels.
    """

    data: Path
    name: str
    images: NDArray[np.uint8]
    paths: tuple[str, ...]
    targets: NDArray[np.int64] | None


def balanced_sample(targets: NDArray[np.integer], most: int | None, seed: int = 0) -> NDArray[np.intp]:
    """Ascending indices of at most `most` images, drawn with a seed and balanced over the classes where possible."""
    order = np.random.default_rng(seed).permutation(len(targets))
    place = np.empty(len(targets), dtype=np.intp)
    for label in np.unique(targets):
        members = order[targets[order] == label]
        place[members] = np.arange(len(members))
    return np.sort(order[np.argsort(place[order], kind="stable")][:most])


def conditions_of(split: Split, size: int, scope: Scope, other: OtherImages | None = None) -> tuple[Condition, ...]:
    """The conditions of a scope on a split: first the whole part with labels, last the other images.

    Raises:
        DataError, CacheError: as `decoded`.
    """
    conditions = []
    sources = {part: decoded(split, part, size) for part in {**scope.as_they_are, **scope.shifted}}
    for part, most in sorted(scope.as_they_are.items(), key=lambda pair: pair[0] != LABELLED_PART):
        conditions.append(Condition(part, None, sources[part], balanced_sample(split.targets(part), most)))
    for shift in SUITE:
        for part, most in scope.shifted.items():
            conditions.append(Condition(part, shift, sources[part], balanced_sample(split.targets(part), most)))
    if other is not None:
        conditions.append(Condition(other.name, None, other.images, np.arange(len(other.images))))
    return tuple(conditions)


def read_other_images(
    data: Path, labels: Sequence[str], size: int, resize: str, on_image: Tick | None = None
) -> OtherImages:
    """Images of any folder or table: labelled if its classes are the model's, otherwise without labels.

    If there are class folders, files outside them are ignored; a table needs only a column of paths.

    Raises:
        DataError: there are no images, some cannot be decoded, or a table or folder cannot be read.
    """
    root, paths, targets = _listed(data, tuple(labels))
    if not paths:
        raise DataError(f"{data}: no images in it")
    images = np.empty((len(paths), size, size, 1), dtype=np.uint8)
    refuse(decode_all([root / path for path in paths], size, images, on_image, resize), len(paths))
    return OtherImages(data, f"data {data.stem}", images, paths, targets)


def _listed(data: Path, labels: tuple[str, ...]) -> tuple[Path, tuple[str, ...], NDArray[np.int64] | None]:
    is_table = data.suffix.lower() == TABLE_SUFFIX
    if not is_table and not data.is_dir():
        raise DataError(f"{data}: no such folder or table")
    rows = read_table(data, ("path",)) if is_table else []
    if is_table and not all(row.get("label") for row in rows):
        return data.parent, tuple(row["path"] for row in rows), None
    try:
        known = find_data_set(data, labels)
    except UnknownClassesError:
        # Agreement needs no labels.
        if is_table:
            return data.parent, tuple(row["path"] for row in rows), None
        return data, tuple(path.relative_to(data).as_posix() for path in x_ray_files(data)), None
    items = known.test_part().items
    return known.root, tuple(item.path for item in items), np.array([item.label for item in items], dtype=np.int64)
