"""What an operating point promises for new images, and how many images support the promise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cxr_edge.evaluation.binomial import clopper_pearson_upper, most_exceptions


class PromiseKind(StrEnum):
    """Whether the demanded share can be promised."""

    GUARANTEED = "guaranteed"
    #: Too few images, or too many would have to be referred: the best achievable promise instead.
    BEST_AVAILABLE = "best available"


@dataclass(frozen=True)
class Promise:
    """With 95 % confidence, an error of one kind affects at most the share `at_most` of images like these.

    `demanded` is the requested share, `images` how many support the promise, and `allowed` how many of those may be
    affected by the error.
    """

    kind: PromiseKind
    demanded: float
    at_most: float
    images: int
    allowed: int

    @classmethod
    def by_order_statistic(cls, images: int, demanded: float) -> Promise:
        """What a threshold at an order statistic can promise given only the number of images; see `most_exceptions`."""
        allowed = most_exceptions(images, demanded)
        kind = PromiseKind.BEST_AVAILABLE if allowed is None else PromiseKind.GUARANTEED
        return cls(kind, demanded, clopper_pearson_upper(allowed or 0, images), images, allowed or 0)
