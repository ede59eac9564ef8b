"""Confidence intervals and significance tests for small test splits. They need SciPy, which a device does not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cxr_edge.artifacts.parity_result import McNemarTest, PairedDifference
from cxr_edge.intervals import CONFIDENCE, Interval

RESAMPLES = 2000
#: Values that are resampled at a time, 8 bytes of index and 8 of value each.
_BATCH_VALUES = 4_000_000


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedDifference:
    """The share of `second` minus that of `first` on the same images, with a percentile bootstrap interval over images.

    `lost_at_most` is the exact upper bound (Clopper and Pearson, 1934; one-sided) of the share of images that only
    `first` gets right, and so of the drop: unlike the bootstrap, it accounts for the fact that no loss in few images
    proves little.
    """
    if not len(first):
        return PairedDifference(None, None, None, None)
    mean = bootstrapped_mean(second.astype(np.float64) - first)
    # One image bounds nothing.
    low, high = (-1.0, 1.0) if len(first) == 1 else (mean.low, mean.high)
    lost = int((first & ~second).sum())
    bound = stats.binomtest(lost, len(first), alternative="less").proportion_ci(CONFIDENCE, method="exact")
    return PairedDifference(mean.value, low, high, float(bound.high))


def bootstrapped_mean(values: NDArray[np.float64]) -> Interval:
    """The mean of values `[N]`, one per image, with a percentile bootstrap interval over images."""
    mean = float(values.mean())
    # Of equal values, SciPy's bootstrap is not defined.
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    resampled = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        # All resamples at once take 31 kB of memory per image.
        batch=max(1, _BATCH_VALUES // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=0,
    )
    return Interval(mean, float(resampled.confidence_interval.low), float(resampled.confidence_interval.high))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemarTest:
    """McNemar's exact test (1947): how often only one of the two is right, and the p-value of that imbalance."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    p_value = float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemarTest(only_first, only_second, p_value)


def sign_test(away: int, towards: int) -> float:
    """One-sided p-value of the exact sign test: at least this excess of `away` if both were equally likely."""
    discordant = away + towards
    return float(stats.binomtest(away, discordant, alternative="greater").pvalue) if discordant else 1.0


def kl_divergences(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of each image, float64 `[N]`, reference from candidate, in nats.

    Args:
        reference, candidate: probabilities `[N, K]`.
    """
    first, second = (np.maximum(values.astype(np.float64), 1e-12) for values in (reference, candidate))
    # Negative only by rounding.
    return np.asarray(np.maximum(0.0, (first * np.log(first / second)).sum(axis=1)))


def kl_divergence(reference: NDArray[np.floating], candidate: NDArray[np.floating]) -> float:
    """Mean of `kl_divergences`."""
    return float(kl_divergences(reference, candidate).mean())
