"""Exact one-sided bounds of a proportion from counts (Clopper and Pearson, 1934), without SciPy, for the device."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Confidence level of every bound here, and of every promise based on one.
CONFIDENCE = 0.95
#: Bisections of the interval 0..1: enough for the last bit of a float.
_HALVINGS = 60


# The same counts recur for every artifact.
@lru_cache
def clopper_pearson_upper(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Upper bound of the proportion behind `hits` of `trials`; 1 for no trials."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _cumulative(hits, trials, middle)[-1] > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def clopper_pearson_lower(hits: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Lower bound of the proportion behind `hits` of `trials`; 0 for no trials."""
    return 1 - clopper_pearson_upper(trials - hits, trials, confidence)


@lru_cache
def most_exceptions(trials: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """The most hits in `trials` whose upper bound is still at most `share`; None if even zero hits would not suffice.

    This many images may lie beyond a threshold placed at an order statistic of their scores: the share of the
    population beyond the (k + 1)-th of n scores is Beta(k + 1, n - k) distributed, whatever the distribution of the
    scores (Wilks, "Determination of sample sizes for setting tolerance limits", 1941), and its quantile is the
    Clopper-Pearson bound for k of n. This number is known before any score is seen, so the bound holds even though the
    threshold is chosen and judged on the same images, as in conformal prediction (Vovk, "Conditional validity of
    inductive conformal predictors", 2012).
    """
    if share >= 1:
        return trials
    proven = np.flatnonzero(_cumulative(trials, trials, share) <= 1 - confidence)
    return int(proven[-1]) if len(proven) else None


def fewest_images(share: float, confidence: float = CONFIDENCE) -> int:
    """How many images without a hit prove an upper bound of `share`, which is above 0: 59 for 5 % (Wilks, 1941)."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))


def _cumulative(upto: int, trials: int, share: float) -> NDArray[np.float64]:
    """Probabilities of at most 0, at most 1, ... at most `upto` hits in `trials`; `0 <= share < 1`."""
    if share == 0:
        return np.ones(upto + 1)
    hits = np.arange(1, upto + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((trials - hits + 1) / hits))])
    counts = np.arange(upto + 1)
    return np.asarray(np.cumsum(np.exp(ways + counts * np.log(share) + (trials - counts) * np.log1p(-share))))
