"""An artifact's operating point as recorded in its metadata: the rule, its promises, and its validation figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cxr_edge.evaluation.binomial import CONFIDENCE, clopper_pearson_upper, fewest_images
from cxr_edge.evaluation.operating import shown
from cxr_edge.evaluation.operating_figures import OperatingFigures
from cxr_edge.evaluation.operating_fit import MOST_REFERRED, FittedPoint
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.records import INLINE, JsonObject, from_json

#: The fewest images that can promise a sensitivity of 95 % at all. With fewer, each image moves the promise by
#: percentage points.
FEW_IMAGES = fewest_images(0.05)


@dataclass(frozen=True)
class OperatingRecord:
    """A fitted point, and its figures on the artifact's own probabilities of the validation split."""

    DERIVED: ClassVar[Mapping[str, str]] = {"confidence": "confidence"}

    fitted: FittedPoint = field(metadata=INLINE)
    validation: OperatingFigures

    @property
    def confidence(self) -> float:
        """The confidence level of each promise."""
        return CONFIDENCE

    @property
    def promise(self) -> str:
        """The promises in words."""
        label, missed, wrong = self.fitted.point.sensitive_class, self.fitted.missed, self.fitted.wrong_calls
        return (
            f"promised for new images of the same kind ({100 * CONFIDENCE:.0f} % confidence, {self.fitted.basis} "
            f"probabilities): at least {rounded_down(1 - missed.at_most)} % of {label} called or referred "
            f"({missed.kind}), at most {rounded_up(wrong.at_most)} % of the others called wrongly ({wrong.kind})"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What weakens the promise, and what contradicts it."""
        return tuple(line for line in (self._too_few(), self._mostly_referred(), self._contradicted()) if line)

    def _too_few(self) -> str | None:
        label, missed = self.fitted.point.sensitive_class, self.fitted.missed
        if missed.kind is PromiseKind.BEST_AVAILABLE:
            return too_few_images("a sensitivity", f"{label} images", missed)
        if missed.images < FEW_IMAGES:
            return f"only {missed.images} {label} images support its sensitivity; at least {FEW_IMAGES} are recommended"
        return None

    def _mostly_referred(self) -> str | None:
        referred = self.validation.referred_share or 0.0
        if referred <= MOST_REFERRED:
            return None
        return f"{100 * referred:.1f} % of the validation images are referred; a lower --sensitivity refers fewer"

    def _contradicted(self) -> str | None:
        """For a fit on out-of-fold probabilities, from other models: the artifact's own may contradict them."""
        if not self.broken_on(self.validation):
            return None
        return (
            f"this artifact itself misses {self.validation.missed} of {self.validation.sensitive_images} "
            f"{self.fitted.point.sensitive_class} images of the validation split, more than its promise allows"
        )

    def broken_on(self, figures: OperatingFigures) -> bool:
        """Whether more images are missed than chance would explain if the promised sensitivity held."""
        caught = figures.sensitive_images - figures.missed
        return clopper_pearson_upper(caught, figures.sensitive_images) < 1 - self.fitted.missed.at_most


def operating_record_of(value: JsonObject | None) -> OperatingRecord | None:
    """From the `operating_point` of an artifact's metadata; None if it has none, or one without a promise."""
    return None if value is None or "basis" not in value else from_json(OperatingRecord, value)


def too_few_images(what: str, images: str, promise: Promise) -> str:
    """Why less is promised than was demanded.

    Args:
        what: the share that was demanded, such as `a sensitivity`.
        images: what the promise rests on, such as `COVID-19 images`.
        promise: of the kind `BEST_AVAILABLE`.
    """
    takes = f"; it takes {fewest_images(promise.demanded)} of them" if promise.demanded > 0 else ""
    return (
        f"{what} of {shown(1 - promise.demanded)} % was demanded; with {promise.images} {images}, "
        f"at most {rounded_down(1 - promise.at_most)} % can be promised{takes}"
    )


def rounded_down(share: float) -> str:
    """As a percentage, rounded so that a promise never grows."""
    return f"{math.floor(1000 * share) / 10:.1f}"


def rounded_up(share: float) -> str:
    """As a percentage, rounded so that a limit never shrinks."""
    return f"{math.ceil(1000 * share) / 10:.1f}"
