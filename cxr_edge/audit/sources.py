"""Whether classes come from different sources: then whatever tells the hospital or the archive tells the class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

#: Share of a class's images from sources that have another class too, under which it is worth a warning.
SHARED = 0.5


def compare_sources(images: Iterable[tuple[str, str | None]], labels: Sequence[str]) -> dict[str, Any]:
    """Which sources the images of each class come from, where known.

    Args:
        images: label and source of each.
        labels: in their order.

    Returns:
        `images_with_source`; `sources`, images of each label by source, the largest first; `shared`, for each label
        with known sources the share of its images from sources that have another label too; `association`, Cramer's V
        of source and label, None where there is nothing to compare.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for label, source in images:
        if source:
            counts[source][label] += 1
    ordered = dict(sorted(counts.items(), key=lambda one: (-one[1].total(), one[0])))
    total = sum((found for found in counts.values()), Counter[str]())
    mixed = sum((found for found in counts.values() if len(found) > 1), Counter[str]())
    known = [label for label in labels if total[label]]
    association = None
    if len(known) > 1 and len(counts) > 1:
        table = np.array([[found[label] for label in known] for found in counts.values()])
        association = round(float(stats.contingency.association(table, method="cramer")), 4)
    return {
        "images_with_source": total.total(),
        "sources": {source: {label: found[label] for label in labels} for source, found in ordered.items()},
        "shared": {label: mixed[label] / total[label] for label in known},
        "association": association,
    }


def apart(record: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Of `compare_sources`: labels none of whose images come from a source with another label, and those with few."""
    shared = record["shared"] if len(record["shared"]) > 1 else {}
    return [label for label in shared if not shared[label]], [label for label in shared if 0 < shared[label] < SHARED]
