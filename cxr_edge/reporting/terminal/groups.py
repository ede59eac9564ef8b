"""Figures by group of images, in the terminal."""

from __future__ import annotations

from cxr_edge.evaluation.groups import Group, Grouping, WorstGroup
from cxr_edge.intervals import Interval
from cxr_edge.reporting.terminal.metrics import bounds, with_bounds
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.wording import counted

#: The most groups in the table, and the most characters of a name, which may be an address on the web.
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
    if any(own.label is None for own in grouping.worst):
        return
    show(f"no worst group: fewer than two groups have at least {grouping.min_images} images")


def _rows(group: Group) -> list[list[str]]:
    name = _shortened(group.name) + (" (too few)" if group.too_few else "")
    classes = [
        ["", _shortened(own.label), str(own.images), *_cells(own.sensitivity)] for own in group.classes if own.images
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
