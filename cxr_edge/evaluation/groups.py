"""A model's figures on groups of images, such as those of women and men, and the groups with the worst figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.records import FIGURE

#: A group with fewer images is shown but not compared: even with 30, an interval is up to 34 points wide.
MIN_IMAGES = 30
#: The group of images without a value.
NOT_STATED = "not stated"


@dataclass(frozen=True)
class ClassSensitivity:
    """The share of a class's images that are recognized; None without images."""

    label: str
    images: int
    sensitivity: Interval = field(metadata=FIGURE)


@dataclass(frozen=True)
class Group:
    """The images with one value of the column. With `too_few` images, its figures are compared with nothing."""

    name: str
    images: int
    too_few: bool
    accuracy: Interval = field(metadata=FIGURE)
    classes: tuple[ClassSensitivity, ...]


@dataclass(frozen=True)
class WorstGroup:
    """The group with the lowest share of right answers, among those with enough images.

    The share is the accuracy, or the sensitivity of the class `label`; `others` is the same share of all images outside
    the group. The group is `distinct` if its whole interval is below that of the others.
    """

    label: str | None
    group: str
    share: Interval = field(metadata=FIGURE)
    others: Interval = field(metadata=FIGURE)
    distinct: bool


@dataclass(frozen=True)
class Grouping:
    """The groups by one column, in order, and the worst by accuracy and by the sensitivity of each class.

    `worst` omits a comparison if fewer than two groups have `min_images` images for it.
    """

    by: str
    min_images: int
    groups: tuple[Group, ...]
    worst: tuple[WorstGroup, ...]


def grouping(
    by: str,
    values: Sequence[str],
    targets: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    labels: Sequence[str],
) -> Grouping:
    """The groups of images by a column.

    Args:
        by: the name of the column.
        values: the column's N values, one per image, empty if not stated.
        targets: label indices `[N]`.
        probabilities: `[N, K]`, in the order of `labels`.
        labels: K names.
    """
    column = np.array([value or NOT_STATED for value in values], dtype=object)
    right = probabilities.argmax(axis=1) == targets
    names = sorted(set(column), key=lambda name: (name == NOT_STATED, name))
    members = {name: np.asarray(column == name) for name in names}
    groups = tuple(_group(name, members[name], right, targets, labels) for name in names)
    everything = np.ones(len(column), dtype=bool)
    worst = [_worst(None, members, right, everything)]
    worst += [_worst(label, members, right, targets == index) for index, label in enumerate(labels)]
    return Grouping(by, MIN_IMAGES, groups, tuple(group for group in worst if group is not None))


def _group(
    name: str,
    member: NDArray[np.bool_],
    right: NDArray[np.bool_],
    targets: NDArray[np.integer],
    labels: Sequence[str],
) -> Group:
    images = int(member.sum())
    classes = []
    for index, label in enumerate(labels):
        of_class = member & (targets == index)
        classes.append(ClassSensitivity(label, int(of_class.sum()), _share(right, of_class)))
    return Group(name, images, images < MIN_IMAGES, _share(right, member), tuple(classes))


def _worst(
    label: str | None, members: dict[str, NDArray[np.bool_]], right: NDArray[np.bool_], among: NDArray[np.bool_]
) -> WorstGroup | None:
    """The group with the lowest share on the images `among`; None if fewer than two groups have enough of them."""
    shares = {
        name: _share(right, member & among)
        for name, member in members.items()
        if int((member & among).sum()) >= MIN_IMAGES
    }
    if len(shares) < 2:
        return None
    name = min(shares, key=lambda name: shares[name].value or 0.0)
    share, others = shares[name], _share(right, among & ~members[name])
    return WorstGroup(label, name, share, others, (share.high or 0.0) < (others.low or 0.0))


def _share(right: NDArray[np.bool_], images: NDArray[np.bool_]) -> Interval:
    return wilson_interval(int((right & images).sum()), int(images.sum()))
