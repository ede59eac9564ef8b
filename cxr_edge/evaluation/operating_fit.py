"""Fit an operating point on labelled images, with its promises for new ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Context, Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.binomial import clopper_pearson_upper
from cxr_edge.evaluation.operating import OperatingPoint
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.records import INLINE

#: Share of the images outside the sensitive class that may be called wrongly.
MOST_WRONG = 0.02
#: At most this share of them is referred to achieve that.
MOST_REFERRED = 0.5
#: No class with a lower probability is called, so two classes can never be called at once.
LEAST_CALLED = 0.5
#: Significant digits of a threshold.
_DIGITS = 3


class Basis(StrEnum):
    """Whose probabilities a point was fitted on."""

    #: The artifact's own, on the validation split.
    VALIDATION = "validation"
    #: Those of the cross-validation's models, each on the images that it never saw. More images, but from models other
    #: than the artifact, trained in the same way: the promise holds as far as they represent it (Barber et al.,
    #: "Predictive inference with the jackknife+", 2021).
    OUT_OF_FOLD = "out-of-fold"


@dataclass(frozen=True)
class FittedPoint:
    """A point and its promises: the share `missed` of its class, and the share of `wrong_calls` among other images."""

    point: OperatingPoint = field(metadata=INLINE)
    basis: Basis
    missed: Promise
    wrong_calls: Promise


def fit_operating_point(
    probabilities: NDArray[np.floating],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    sensitive_class: str,
    sensitivity: float,
    basis: Basis = Basis.VALIDATION,
) -> FittedPoint:
    """The highest thresholds that keep their promises.

    Both are order statistics. `suspected_from` is one of the sensitive class's probabilities, with as many below it as
    may be missed. `called_from` lies above the probabilities of all wrong calls among the other images except as many
    as may be wrong. `suspected_from` was not chosen on those images, so both bounds are exact.

    Args:
        probabilities: `[N, K]` of images that the model was not trained on.
        targets: label indices `[N]`.
        labels: K names.
        sensitive_class: the class not to be missed; it occurs in `targets`, and so does another.
        sensitivity: the demanded lower bound of the share of its images that are called or referred.
        basis: where the probabilities come from.
    """
    exact = probabilities.astype(np.float64)
    index = list(labels).index(sensitive_class)
    sensitive = targets == index
    missed = Promise.by_order_statistic(int(sensitive.sum()), round(1 - sensitivity, 9))
    suspected_from = min(LEAST_CALLED, _rounded_down(float(np.sort(exact[sensitive, index])[missed.allowed])))
    others, classes = exact[~sensitive], targets[~sensitive]
    confidence, top = others.max(axis=1), others.argmax(axis=1)
    suspected = (others[:, index] >= suspected_from) & (top != index)
    mistaken = np.sort(confidence[(top != classes) & ~suspected])[::-1]
    wrong = Promise.by_order_statistic(len(others), MOST_WRONG)
    needed = just_above(float(mistaken[wrong.allowed])) if len(mistaken) > wrong.allowed else 0.0
    tolerated = _rounded_down(float(np.sort(confidence)[int(MOST_REFERRED * len(confidence))]))
    called_from = max(LEAST_CALLED, min(needed, tolerated))
    if called_from < needed:
        count = int((mistaken >= called_from).sum())
        bound = clopper_pearson_upper(count, len(others))
        wrong = Promise(PromiseKind.BEST_AVAILABLE, MOST_WRONG, bound, len(others), count)
    return FittedPoint(OperatingPoint(sensitive_class, suspected_from, called_from), basis, missed, wrong)


def _rounded_down(share: float) -> float:
    """Rounded down to three significant digits, so that the displayed threshold is the one that is applied."""
    return float(Context(prec=_DIGITS, rounding=ROUND_DOWN).create_decimal_from_float(share))


def just_above(share: float) -> float:
    """The next greater number whose distance from 1 has three significant digits; infinity if there is none."""
    if share >= 1:
        return math.inf
    context = Context(prec=_DIGITS, rounding=ROUND_DOWN)
    exact = Decimal(1) - Decimal(share)
    distance = context.create_decimal(exact)
    return float(1 - (context.next_minus(distance) if distance == exact else distance))
