"""Check whether classes come from different sources: then whatever gives away the hospital gives away the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from cxr_edge.auditing.record import Sources

#: Share of a class's images from sources shared with another class, below which a warning is due.
SHARED = 0.5


def compare_sources(images: Iterable[tuple[str, str | None]], labels: Sequence[str]) -> Sources:
    """Compare the known sources of each class's images.

    Args:
        images: label and source of each.
        labels: in order.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, source in images:
        if source:
            counts[source][label] += 1
    ordered = dict(sorted(counts.items(), key=lambda pair: (-pair[1].total(), pair[0])))
    total = sum(counts.values(), Counter[str]())
    mixed = sum((by_label for by_label in counts.values() if len(by_label) > 1), Counter[str]())
    known = [label for label in labels if total[label]]
    association = None
    if len(known) > 1 and len(counts) > 1:
        table = np.array([[by_label[label] for label in known] for by_label in counts.values()])
        association = round(float(stats.contingency.association(table, method="cramer")), 4)
    return Sources(
        images_with_source=total.total(),
        sources={source: {label: by_label[label] for label in labels} for source, by_label in ordered.items()},
        shared={label: mixed[label] / total[label] for label in known},
        association=association,
    )


class Apart(NamedTuple):
    """Labels with none, or less than half, of their images from sources that also have another label."""

    none: list[str]
    few: list[str]


def apart(sources: Sources) -> Apart:
    """The labels with few or no images from a source that also has another label."""
    shared = sources.shared if len(sources.shared) > 1 else {}
    return Apart(
        none=[label for label in shared if not shared[label]],
        few=[label for label in shared if 0 < shared[label] < SHARED],
    )
