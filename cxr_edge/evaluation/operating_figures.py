"""Counts of what an operating point does on labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.binomial import clopper_pearson_lower, clopper_pearson_upper
from cxr_edge.evaluation.operating import OperatingPoint


@dataclass(frozen=True)
class OperatingFigures:
    """Counts of images of the sensitive class and of all others; a share is None if its denominator is 0.

    An image of the sensitive class is called, referred or missed; an image of another class is called correctly,
    referred or called wrongly.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {
        name: name
        for name in (
            "missed",
            "wrong_calls",
            "sensitivity",
            "sensitivity_at_least",
            "wrong_call_share",
            "wrong_call_share_at_most",
            "referred_share",
            "decided_right",
        )
    }

    sensitive_images: int
    sensitive_called: int
    sensitive_referred: int
    other_images: int
    other_right: int
    other_referred: int

    @property
    def missed(self) -> int:
        return self.sensitive_images - self.sensitive_called - self.sensitive_referred

    @property
    def wrong_calls(self) -> int:
        return self.other_images - self.other_right - self.other_referred

    @property
    def images(self) -> int:
        return self.sensitive_images + self.other_images

    @property
    def referred(self) -> int:
        return self.sensitive_referred + self.other_referred

    @property
    def sensitivity(self) -> float | None:
        """Share of the sensitive class that is called or referred, so not missed."""
        return None if not self.sensitive_images else 1 - self.missed / self.sensitive_images

    @property
    def sensitivity_at_least(self) -> float | None:
        if not self.sensitive_images:
            return None
        return clopper_pearson_lower(self.sensitive_images - self.missed, self.sensitive_images)

    @property
    def wrong_call_share(self) -> float | None:
        """Share of the other images that are called wrongly."""
        return None if not self.other_images else self.wrong_calls / self.other_images

    @property
    def wrong_call_share_at_most(self) -> float | None:
        return None if not self.other_images else clopper_pearson_upper(self.wrong_calls, self.other_images)

    @property
    def referred_share(self) -> float | None:
        return None if not self.images else self.referred / self.images

    @property
    def decided_right(self) -> float | None:
        """Share of correct calls among the images that are not referred."""
        decided = self.images - self.referred
        return None if not decided else (self.sensitive_called + self.other_right) / decided


def operating_figures(
    point: OperatingPoint, probabilities: NDArray[np.floating], targets: NDArray[np.integer], labels: Sequence[str]
) -> OperatingFigures:
    """Count what an operating point does.

    Args:
        point: its class is one of `labels`.
        probabilities: `[N, K]`.
        targets: label indices `[N]`.
        labels: K names.
    """
    called, referred = point.decide(probabilities, labels)
    sensitive = targets == list(labels).index(point.sensitive_class)
    right = (called == targets) & ~referred
    return OperatingFigures(
        sensitive_images=int(sensitive.sum()),
        sensitive_called=int((sensitive & right).sum()),
        sensitive_referred=int((sensitive & referred).sum()),
        other_images=int((~sensitive).sum()),
        other_right=int((~sensitive & right).sum()),
        other_referred=int((~sensitive & referred).sum()),
    )
