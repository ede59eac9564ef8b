"""Confidence intervals of shares, without SciPy: records, evaluations and training all have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
#: The standard normal distribution's quantile of (1 + CONFIDENCE) / 2.
_Z = 1.9599639845400536


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % confidence interval.

    All are None if there is nothing to count; only the bounds if just the figure was recorded.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


def wilson_interval(hits: int, count: int) -> Interval:
    """The share of `hits` among `count` with its score interval (Wilson, 1927)."""
    if not count:
        return Interval(None)
    share, spread = hits / count, _Z**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def mean_interval(shares: Sequence[Interval]) -> Interval:
    """The mean of independent shares, such as recalls per class, leaving out those without a value.

    Its bounds are recovered from theirs (Zou, Huang and Zhang, "A note on confidence interval estimation for a linear
    function of binomial proportions", 2009).
    """
    known = [(share.value, share.low, share.high) for share in shares if share.value is not None]
    if not known:
        return Interval(None)
    mean = sum(value for value, _, _ in known) / len(known)
    below = math.sqrt(sum((value - low) ** 2 for value, low, _ in known if low is not None)) / len(known)
    above = math.sqrt(sum((high - value) ** 2 for value, _, high in known if high is not None)) / len(known)
    return Interval(mean, max(0.0, mean - below), min(1.0, mean + above))
