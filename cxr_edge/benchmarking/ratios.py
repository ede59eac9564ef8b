"""Ratios of latencies with their intervals, and the verdict on a candidate's speed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cxr_edge.intervals import Interval

_RESAMPLES = 1000
#: With fewer rounds, an interval would look tighter than it is.
LEAST_ROUNDS = 5


class Speed(StrEnum):
    """A candidate's speed against the baseline's."""

    FASTER = "faster"
    SLOWER = "slower"
    #: The interval of their ratio includes 1, there is none, or the two medians contradict their rounds.
    UNDECIDED = "not told apart"
    BASELINE = "baseline"


def judge_speed(medians: float, interval: tuple[float, ...] | None) -> Speed:
    """Faster or slower only if nothing contradicts it.

    Args:
        medians: ratio of the medians over all queries, ours to the baseline's.
        interval: bounds from `ratio_interval`; None if there were too few rounds.
    """
    if interval is not None and interval[1] < 1 and medians < 1:
        return Speed.FASTER
    if interval is not None and interval[0] > 1 and medians > 1:
        return Speed.SLOWER
    return Speed.UNDECIDED


def paired_ratio(ours: Sequence[float], theirs: Sequence[float], by_mean: bool = False) -> float:
    """Median of the rounds' ratios: a machine that slows down midway slows both in each round.

    With `by_mean`, the ratio of the means over all rounds: a cascade is fast on most images and slow on some, and no
    median shows the slow ones.
    """
    if by_mean:
        return float(np.mean(ours) / np.mean(theirs))
    return float(np.median(np.asarray(ours) / np.asarray(theirs)))


def ratio_interval(
    ours: Sequence[float], theirs: Sequence[float], paired: bool, by_mean: bool = False, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of a ratio (Efron and Tibshirani 1993, chapter 13).

    Args:
        ours, theirs: medians of rounds; means with `by_mean`.
        paired: True if the rounds of both were interleaved, for the interval of `paired_ratio`; otherwise the interval
            is that of the ratio of two medians.
        by_mean: as for `paired_ratio`; the interval is that of a ratio of means.
        seed: of the resampling.

    Returns:
        Lower and upper bound; None for fewer than `LEAST_ROUNDS` rounds.
    """
    if min(len(ours), len(theirs)) < LEAST_ROUNDS:
        return None
    random = np.random.default_rng(seed)
    numerator, denominator = np.asarray(ours), np.asarray(theirs)
    first: NDArray[np.intp] = random.integers(len(numerator), size=(_RESAMPLES, len(numerator)))
    average = np.mean if by_mean else np.median
    if paired and not by_mean:
        ratios = np.median((numerator / denominator)[first], axis=1)
    else:
        second = first if paired else random.integers(len(denominator), size=(_RESAMPLES, len(denominator)))
        ratios = average(numerator[first], axis=1) / average(denominator[second], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def interleaved_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """`paired_ratio` with its interval, without bounds if there were too few rounds."""
    low, high = ratio_interval(ours, theirs, paired=True) or (None, None)
    return Interval(paired_ratio(ours, theirs), low, high)
