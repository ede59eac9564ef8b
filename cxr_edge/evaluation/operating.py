"""Operating point: when to call a class that must not be missed, and when to leave an image to a radiologist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Called by default where it is among the labels.
USUAL_LABEL = "COVID-19"
REFER = "refer to a radiologist"
#: Share of right decisions that abstaining is to reach on the validation split.
WANTED_ACCURACY = 0.99
#: Of the images, at most this share is left to a radiologist to get there.
MOST_REFERRED = 0.5


@dataclass(frozen=True)
class OperatingPoint:
    """`label` is called from a probability of `threshold` on; what is less probable than `refer_below` is referred."""

    label: str
    threshold: float
    refer_below: float

    def decide(
        self, probabilities: NDArray[np.floating], labels: Sequence[str]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Label indices `[N]` and which of them are referred instead, from probabilities `[N, K]`."""
        index = list(labels).index(self.label)
        others = probabilities.copy()
        others[:, index] = -1
        called = np.where(probabilities[:, index] >= self.threshold, index, others.argmax(axis=1))
        confidence = probabilities[np.arange(len(called)), called]
        return called, confidence < self.refer_below


def fit_operating_point(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    label: str,
    sensitivity: float,
) -> OperatingPoint:
    """The highest threshold, at most 0.5, that reaches a sensitivity, and the least abstention that is right enough.

    Args:
        probabilities: `[N, K]` of a validation split.
        targets: label indices `[N]`.
        labels: K names.
        label: the class not to be missed; it occurs in `targets`.
        sensitivity: the wanted share of its images with a probability of the threshold and more.
    """
    index = list(labels).index(label)
    positives = np.sort(probabilities[targets == index, index])[::-1]
    needed = max(1, math.ceil(sensitivity * len(positives) - 1e-9))
    # Rounded down, never up over the image that it is to catch.
    threshold = min(0.5, math.floor(float(positives[needed - 1]) * 1e4) / 1e4)
    called, _ = OperatingPoint(label, threshold, 0.0).decide(probabilities, labels)
    confidence = probabilities[np.arange(len(called)), called]
    ascending = np.argsort(confidence)
    right = (called == targets)[ascending]
    # Share of right decisions if the n least confident images are referred.
    kept = np.cumsum(right[::-1])[::-1] / np.arange(len(right), 0, -1)
    allowed = kept[: int(MOST_REFERRED * len(kept)) + 1]
    reached = np.flatnonzero(allowed >= WANTED_ACCURACY)
    referred = int(reached[0]) if len(reached) else int(allowed.argmax())
    refer_below = float(confidence[ascending[referred]]) if referred else 0.0
    return OperatingPoint(label, threshold, refer_below)


def operating_figures(
    point: OperatingPoint, probabilities: NDArray[np.floating], targets: NDArray[np.integer], labels: Sequence[str]
) -> dict[str, Any]:
    """What a point does on labelled images, JSON-ready; None where there is nothing to divide by.

    `coverage` is the share decided, `accuracy` that of those, `sensitivity` the share of the label's images called or
    referred, and so not missed, `called` the share of them called.
    """
    called, referred = point.decide(probabilities, labels)
    positive = targets == list(labels).index(point.label)
    decided = ~referred
    hit = positive & (called == list(labels).index(point.label)) & decided
    share_of = int(positive.sum())
    return {
        **asdict(point),
        "images": len(targets),
        "referred": int(referred.sum()),
        "coverage": float(decided.mean()),
        "accuracy": float((called == targets)[decided].mean()) if decided.any() else None,
        "sensitivity": int((hit | (positive & referred)).sum()) / share_of if share_of else None,
        "called": int(hit.sum()) / share_of if share_of else None,
    }


def operating_point_of(figures: dict[str, Any] | None) -> OperatingPoint | None:
    """The operating point in an artifact's metadata, from `operating_figures`; None where it has none."""
    return None if figures is None else OperatingPoint(figures["label"], figures["threshold"], figures["refer_below"])
