"""Figures by group of images, in the terminal."""

from __future__ import annotations

from cxr_edge.evaluation.groups import Group, Grouping, WorstGroup
from cxr_edge.intervals import Interval
from cxr_edge.reporting.terminal.metrics import bounds, with_bounds
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.wording import counted

#: Maximum number of groups in the table, and of characters in a name, which may be a URL.
_MOST_GROUPS, _LONGEST = 20, 24


def show_groups(grouping: Grouping) -> None:
    """Show the accuracy and the sensitivity per class of each group, and the worst groups."""
    largest = sorted(grouping.groups, key=lambda group: -group.images)[:_MOST_GROUPS]
    shown = [group for group in grouping.groups if group in largest]
    show_table(
        f"By {grouping.by} (in %, with 95 % intervals)",
        [grouping.by, "class", "images", "right", ""],
        [row for group in shown for row in _rows(group)],
        texts=2,
    )
    if left := len(grouping.groups) - len(shown):
        show(f"and {counted(left, 'smaller group')}; --json lists all of them")
    for worst in grouping.worst:
        _show_worst(worst)
    if any(worst.label is None for worst in grouping.worst):
        return
    show(f"no worst group: fewer than two groups have at least {grouping.min_images} images")


def _rows(group: Group) -> list[list[str]]:
    name = _shortened(group.name) + (" (too few)" if group.too_few else "")
    classes = [
        ["", _shortened(per_class.label), str(per_class.images), *_cells(per_class.sensitivity)]
        for per_class in group.classes
        if per_class.images
    ]
    return [[name, "all", str(group.images), *_cells(group.accuracy)], *classes]


def _cells(share: Interval) -> list[str]:
    return [percent(share.value), bounds(share)]


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"


def _show_worst(worst: WorstGroup) -> None:
    what = "accuracy" if worst.label is None else f"sensitivity to {worst.label}"
    verdict = "lower than elsewhere" if worst.distinct else "chance may explain it"
    show(f"lowest {what}: {_shortened(worst.group)}, {with_bounds(worst.share)}")
    show(f"  other images {with_bounds(worst.others)}: {verdict}")
