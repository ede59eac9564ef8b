"""What a test split of some hundred images can and cannot say: intervals and tests, by SciPy (not on the device)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000


def share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """A share of 1 with its Wilson score interval (1927); None for all three where there is nothing to count."""
    if not len(hits):
        return {"value": None, "low": None, "high": None}
    count = int(hits.sum())
    interval = stats.binomtest(count, len(hits)).proportion_ci(CONFIDENCE, method="wilson")
    return {"value": count / len(hits), "low": float(interval.low), "high": float(interval.high)}


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
    """The share of `second` less that of `first`, on the same images, with a percentile bootstrap interval over images.

    `lost_at_most` is the exact upper bound (Clopper and Pearson, 1934; one-sided) of the share of images that only
    `first` has right, and so of the drop: unlike the bootstrap, it knows that no loss in few images proves little.
    """
    if not len(first):
        return {"value": None, "low": None, "high": None, "lost_at_most": None}
    difference = second.astype(np.float64) - first
    low = high = float(difference.mean())
    if difference.any():
        found = stats.bootstrap(
            (difference,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0
        )
        low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    lost = int((first & ~second).sum())
    bound = stats.binomtest(lost, len(first), alternative="less").proportion_ci(CONFIDENCE, method="exact")
    return {"value": float(difference.mean()), "low": low, "high": high, "lost_at_most": float(bound.high)}


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any]:
    """McNemar's exact test (1947): how often either alone is right, and the p-value of that being chance."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return {"only_reference_right": only_first, "only_artifact_right": only_second, "p_value": p_value}


def divergence(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> float:
    """Mean Kullback-Leibler divergence of probabilities `[N, K]`, reference from candidate, in nats."""
    first, second = (np.maximum(values.astype(np.float64), 1e-12) for values in (reference, candidate))
    # Never negative, but for rounding.
    return max(0.0, float((first * np.log(first / second)).sum(axis=1).mean()))
