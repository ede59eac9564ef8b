"""Ratios of latencies with their intervals, and whether the machine was quiet enough to tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1000
#: Of fewer rounds, an interval would look tighter than it is.
LEAST_ROUNDS = 5


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], paired: bool, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the ratio of two medians (Efron and Tibshirani 1993, chapter 13).

    Args:
        ours, theirs: medians of rounds.
        paired: the rounds of both were measured in turn, so whole rounds are resampled: a machine that slows down does
            so for both.
        seed: of the resampling.

    Returns:
        Lower and upper bound; None of fewer than `LEAST_ROUNDS` rounds.
    """
    if min(len(ours), len(theirs)) < LEAST_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    upper, lower = np.asarray(ours), np.asarray(theirs)
    first: NDArray[np.intp] = random.integers(len(upper), size=(_RESAMPLES, len(upper)))
    second = first if paired else random.integers(len(lower), size=(_RESAMPLES, len(lower)))
    ratios = np.median(upper[first], axis=1) / np.median(lower[second], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)
