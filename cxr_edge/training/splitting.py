"""Make a stratified train/validation/test split that keeps a patient, and copies of one picture, in one part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_edge.copies.duplicates import Copies, find_copies, kept_together
from cxr_edge.data.fingerprint import Fingerprint
from cxr_edge.data.layouts import PARTS, DataSet
from cxr_edge.data.split import Split, SplitItem
from cxr_edge.errors import DataError


@dataclass(frozen=True)
class Examined:
    """What must be known about a data set's images before the split: the SHA-256 of each, and which are copies."""

    sha256: tuple[str, ...]
    copies: Copies

    @property
    def repeated(self) -> int:
        """Number of pictures that occur more than once."""
        _, sizes = np.unique(self.copies.cluster, return_counts=True)
        return int((sizes > 1).sum())

    def doubt(self, data: DataSet) -> str | None:
        """One line on pictures under two labels, re-saved or altered; None if there are none."""
        pairs = [
            (data.items[pair.first].path, data.items[pair.second].path)
            for pair in self.copies.near
            if data.items[pair.first].label != data.items[pair.second].label
        ]
        if not pairs:
            return None
        more = f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else ""
        return f"{' and '.join(pairs[0])} look like one picture under two labels{more}; see cxr-edge audit"


def examine(data: DataSet, fingerprints: Sequence[Fingerprint]) -> Examined:
    """Find copies among a data set's images, by their fingerprints in the order of its items.

    Raises:
        DataError: a file occurs with the same bytes under two labels.
    """

    copies = find_copies(fingerprints)
    for group in copies.exact:
        first, *others = (data.items[index] for index in group)
        for other in others:
            if other.label != first.label:
                raise DataError(
                    f"{data.root}: {first.path} and {other.path} are the same image under two labels; "
                    "remove the wrong one"
                )
    return Examined(tuple(fingerprint.sha256 for fingerprint in fingerprints), copies)


def _groups(data: DataSet, copies: Copies) -> list[list[int]]:
    """Indices of the items that must stay together: of one patient, or of one picture (joined transitively)."""

    members: dict[int, list[int]] = defaultdict(list)
    numbers = kept_together([item.patient or "" for item in data.items], copies.cluster)
    for index, number in enumerate(numbers.tolist()):
        members[number].append(index)
    return list(members.values())


def make_split(
    data: DataSet,
    examined: Examined,
    seed: int,
    validation: float = 0.15,
    test: float = 0.15,
    fold: tuple[int, int] | None = None,
) -> Split:
    """Split a data set class by class in the requested shares, keeping groups whole.

    Predefined parts are kept; missing validation and test parts are drawn from the training part.

    Args:
        data: from `find_data_set`; it must not have predefined parts if a fold is requested.
        examined: its images, from `examine`.
        seed: the same seed gives the same split.
        validation, test: shares of each class.
        fold: `(i, k)` for the i-th, from 1, of k disjoint test parts that together cover all images.

    Raises:
        DataError: a class ends up without images in a part, of this fold or another one. Only a predefined test part
            may lack classes.
    """
    groups = _groups(data, examined.copies)
    shares = {"validation": validation, "test": test}
    if fold is None:
        return _split(data, examined, groups, seed, shares)
    number, count = fold
    # All of them: the last fold must not turn out to be impossible after hours of training the others.
    return [_split(data, examined, groups, seed, shares, (other, count)) for other in range(1, count + 1)][number - 1]


def _split(
    data: DataSet,
    examined: Examined,
    groups: list[list[int]],
    seed: int,
    shares: dict[str, float],
    fold: tuple[int, int] | None = None,
) -> Split:
    """The split of `make_split`, or of one fold alone."""
    rng = np.random.default_rng(seed)
    predefined = data.parts()
    parts = [item.part or "" for item in data.items]
    for label in range(len(data.labels)):
        of_class = [group for group in groups if data.items[group[0]].label == label]
        total = sum(len(group) for group in of_class)
        room = {part: max(1, round(shares[part] * total)) for part in ("test", "validation") if part not in predefined}
        order = [of_class[index] for index in rng.permutation(len(of_class))]
        if predefined:
            # Only groups that lie entirely in the predefined training part can be moved.
            order = [group for group in order if all(data.items[index].part == "train" for index in group)]
        if fold is not None:
            tested, order = _fold(order, *fold)
            for index in (index for group in tested for index in group):
                parts[index] = "test"
            del room["test"]
        # Groups that do not fit go to training; a patient with many images must not dominate a small part.
        for group in order:
            part = next((name for name, left in room.items() if len(group) <= left), "train")
            if part != "train":
                room[part] -= len(group)
            for index in group:
                parts[index] = part
    split = Split(
        root=data.root,
        labels=data.labels,
        items=tuple(
            SplitItem(item.path, data.labels[item.label], part, item.patient or "", digest)
            for item, part, digest in zip(data.items, parts, examined.sha256, strict=True)
        ),
    )
    _check_classes(split, whole_test=not predefined.get("test"))
    return split


def _check_classes(split: Split, whole_test: bool) -> None:
    """Raises DataError if a part lacks a class; for the test part, only if `whole_test`."""
    for part in PARTS:
        missing = set(split.labels) - {item.label for item in split.part(part)}
        if missing and (part != "test" or whole_test):
            raise DataError(
                f"{split.root}: {', '.join(sorted(missing))} has too few patients or distinct images to be in all of "
                f"{', '.join(PARTS)}"
            )


def _fold(groups: list[list[int]], number: int, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """The groups of one of `count` test parts of about equal size, and all other groups; determined by their order."""
    sizes = [0] * count
    tested: list[list[int]] = []
    others: list[list[int]] = []
    for group in groups:
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(group)
        (tested if smallest == number - 1 else others).append(group)
    return tested, others


def leaks(split: Split, examined: Examined) -> list[str]:
    """Patients, and copies of one picture, in more than one part, as can occur in a predefined split.

    Args:
        split: of the examined images, in their order.
        examined: which images are copies of one another, with the same bytes, saved again or altered.

    Returns:
        A sorted description of each: `patient NAME`, or the path of an image that has a copy in another part.
    """
    first: dict[str | int, SplitItem] = {}
    names = set()
    for item, cluster in zip(split.items, examined.copies.cluster.tolist(), strict=True):
        if first.setdefault(cluster, item).part != item.part:
            names.add(item.path)
        if item.patient and first.setdefault(item.patient, item).part != item.part:
            names.add(f"patient {item.patient}")
    return sorted(names)
