"""What an operating point promises of new images, and on how many it stands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cxr_edge.evaluation.binomial import clopper_pearson_upper, most_exceptions


class PromiseKind(StrEnum):
    """Whether a demand can be promised."""

    GUARANTEED = "guaranteed"
    #: The images are too few, or too many would have to be referred: the best that can be had instead.
    BEST_AVAILABLE = "best available"


@dataclass(frozen=True)
class Promise:
    """With a confidence of 95 %, at most the share `at_most` of images like these meets with an error of some kind.

    `demanded` is the share that was asked for, `images` how many stand behind it, and `allowed` how many of those may
    meet with the error.
    """

    kind: PromiseKind
    demanded: float
    at_most: float
    images: int
    allowed: int

    @classmethod
    def by_order_statistic(cls, images: int, demanded: float) -> Promise:
        """What a threshold at an order statistic can promise, by the number of images alone; see `most_exceptions`."""
        allowed = most_exceptions(images, demanded)
        kind = PromiseKind.BEST_AVAILABLE if allowed is None else PromiseKind.GUARANTEED
        return cls(kind, demanded, clopper_pearson_upper(allowed or 0, images), images, allowed or 0)
