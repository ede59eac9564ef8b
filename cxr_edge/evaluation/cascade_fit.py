"""Fit the threshold of a cascade on labelled images, with its promises for new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.cascade import is_unsure
from cxr_edge.errors import GateError
from cxr_edge.evaluation.binomial import CONFIDENCE, clopper_pearson_upper
from cxr_edge.evaluation.operating import OperatingPoint, shown
from cxr_edge.evaluation.operating_fit import LEAST_CALLED, just_above
from cxr_edge.evaluation.operating_record import OperatingRecord, rounded_down, too_few_images
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.records import JsonObject, from_json


@dataclass(frozen=True)
class CascadeDemands:
    """Minimum shares of images that get the full model's class: of unshifted images, and of images under each shift."""

    agreement: float
    shifted_agreement: float


@dataclass(frozen=True)
class CascadeFigures:
    """Counts of labelled images.

    The full model answers `escalated` of them; `differing` get a class other than the full model's. The cascade
    classifies `right` correctly, and neither calls nor refers `missed` images of the sensitive class; `full_right` and
    `full_missed` are the same for the full model, and `lost` counts the images that only the full model classifies
    correctly. The missed counts are None without a decision rule, `lost` in fits of earlier versions.
    """

    images: int
    escalated: int
    differing: int
    right: int
    full_right: int
    missed: int | None
    full_missed: int | None
    lost: int | None = None


def summed(figures: Sequence[CascadeFigures]) -> CascadeFigures:
    """The figures over several sets of images; a count that may be None only if all sets have it."""

    def total(counts: Iterable[int | None]) -> int | None:
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(figures) else None

    return CascadeFigures(
        images=sum(each.images for each in figures),
        escalated=sum(each.escalated for each in figures),
        differing=sum(each.differing for each in figures),
        right=sum(each.right for each in figures),
        full_right=sum(each.full_right for each in figures),
        missed=total(each.missed for each in figures),
        full_missed=total(each.full_missed for each in figures),
        lost=total(each.lost for each in figures),
    )


@dataclass(frozen=True)
class ShiftedFit:
    """The threshold that one shift requires, and the cascade's figures on validation images under that shift.

    `threshold` is the lowest that keeps the promise about the share `differing` under this shift; the figures are those
    of the cascade's final threshold.
    """

    shift: str
    threshold: float
    differing: Promise
    figures: CascadeFigures


@dataclass(frozen=True)
class CascadeFit:
    """A threshold and its promises.

    `differing` bounds the share of images with a class other than the full model's, `missed` the share of the sensitive
    class that is missed under the full model's decision rule; it is None without one. Only the validation part was used
    to fit, unshifted and under each of the `shifts`. `unshifted_threshold` is the lowest that the unshifted images
    require. Fits of earlier versions have neither `shifts` nor `unshifted_threshold`.
    """

    threshold: float
    differing: Promise
    missed: Promise | None
    validation: CascadeFigures
    test: CascadeFigures
    unshifted_threshold: float | None = None
    shifts: tuple[ShiftedFit, ...] = ()

    @property
    def demands(self) -> CascadeDemands | None:
        """What it was fitted to; None for a fit of earlier versions, which had no shifts."""
        if not self.shifts:
            return None
        return CascadeDemands(
            *(round(1 - promise.demanded, 9) for promise in (self.differing, self.shifts[0].differing))
        )

    @property
    def promise(self) -> str:
        """The promises in words."""
        same = rounded_down(1 - self.differing.at_most)
        parts = [f"at least {same} % get the full model's class ({self.differing.kind})"]
        if self.shifts:
            weakest = max((fit.differing for fit in self.shifts), key=lambda promise: promise.at_most)
            parts.append(f"at least {rounded_down(1 - weakest.at_most)} % under each shift ({weakest.kind})")
        if self.missed is not None:
            caught = rounded_down(1 - self.missed.at_most)
            parts.append(f"at least {caught} % of the sensitive class are called or referred ({self.missed.kind})")
        return (
            f"promised for new images of the same kind ({100 * CONFIDENCE:.0f} % confidence, "
            f"{self.validation.images} validation images): {', '.join(parts)}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Demands that this many images cannot support, and a shift that makes the cascade slow."""
        demands = [("an agreement", "", self.differing), ("a sensitivity", " of the sensitive class", self.missed)]
        # All shifts have the same images.
        demands += [("an agreement", " under each shift", fit.differing) for fit in self.shifts[:1]]
        return (
            *(
                too_few_images(what, f"validation images{which}", promise)
                for what, which, promise in demands
                if promise is not None and promise.kind is PromiseKind.BEST_AVAILABLE
            ),
            *self._slowness(),
        )

    def _slowness(self) -> tuple[str, ...]:
        escalated = self.validation.escalated / self.validation.images
        if self.unshifted_threshold is None or self.threshold == self.unshifted_threshold or escalated <= COSTLY:
            return ()
        worst = max(self.shifts, key=lambda fit: fit.threshold)
        return (
            f"{100 * escalated:.0f} % of the validation images go on to the full model, because the small one is "
            f'confident in different answers under "{worst.shift}" (without shifts, the threshold would be '
            f"{shown(self.unshifted_threshold)} %); a small model that was distilled on such images is faster",
        )


#: If more than this share of the unshifted images go on to the full model, a warning says so.
COSTLY = 0.25


def cascade_fit_of(value: JsonObject) -> CascadeFit:
    """From the `fitted` of a manifest's cascade. Raises ValueError."""
    return from_json(CascadeFit, value)


@dataclass(frozen=True)
class Answers:
    """Probabilities `[N, K]` of both models of a cascade for the same images, with label indices `[N]`."""

    small: NDArray[np.float32]
    full: NDArray[np.float32]
    targets: NDArray[np.int64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The small model's top probability `[N]`."""
        return np.asarray(self.small.max(axis=1), np.float64)

    def combined(self, threshold: float) -> NDArray[np.float32]:
        """The cascade's probabilities `[N, K]`."""
        return np.where(is_unsure(self.small, threshold)[:, None], self.full, self.small)


def fit_cascade(
    validation: Answers,
    shifted: Mapping[str, Answers],
    test: Answers,
    labels: Sequence[str],
    rule: OperatingRecord | None,
    demands: CascadeDemands,
) -> CascadeFit:
    """The lowest threshold that keeps its promises on the validation images, unshifted and under each shift.

    It is an order statistic, so the bound is exact: of the small model's answers that differ from the full model's, at
    most the allowed number reach it. It is then raised until the sensitive class is missed no more often than the
    decision rule's promise allows; every miss of the full model counts, even on images that the small model answers.
    Each shift has its own order statistic, and the highest threshold is used: raising it never breaks a promise. The
    bound presupposes that the validation images had no part in making the small model; where they selected its network
    or its epoch, as `shrink` does, it is somewhat optimistic.

    Args:
        validation: the artifacts' answers to images that neither model was trained on.
        shifted: the same under shifts, by the shift's name.
        test: the artifacts' answers to the test images, for figures only.
        labels: K names.
        rule: the full model's decision rule with its demanded sensitivity; None without one.
        demands: the agreements to promise.

    Raises:
        GateError: the small model would answer none of the images.
    """
    unshifted, differing = _agreeing(validation, demands.agreement)
    missed, point = None, None
    if rule is not None:
        point = rule.fitted.point
        missed = _most_missed(validation, labels, rule)
        lost = _missed(validation.small, validation.targets, labels, point)
        by_full = _missed(validation.full, validation.targets, labels, point)
        confidence = validation.confidence[lost & ~by_full]
        unshifted = max(unshifted, _above(confidence, missed.allowed - int(by_full.sum())))
    by_shift = {shift: _agreeing(answers, demands.shifted_agreement) for shift, answers in shifted.items()}
    threshold = max(unshifted, *(needed for needed, _ in by_shift.values()), LEAST_CALLED)
    if not (validation.confidence >= threshold).any():
        raise GateError(_nothing_answered(len(validation.targets), unshifted, by_shift))
    fits = tuple(
        ShiftedFit(shift, *by_shift[shift], _figures(answers, threshold, labels, point))
        for shift, answers in shifted.items()
    )
    on_validation, on_test = (_figures(answers, threshold, labels, point) for answers in (validation, test))
    return CascadeFit(threshold, differing, missed, on_validation, on_test, unshifted, fits)


def _agreeing(answers: Answers, agreement: float) -> tuple[float, Promise]:
    """The lowest threshold that keeps the promise of an agreement, and that promise."""
    differing = Promise.by_order_statistic(len(answers.targets), round(1 - agreement, 9))
    differs = answers.small.argmax(axis=1) != answers.full.argmax(axis=1)
    return max(LEAST_CALLED, _above(answers.confidence[differs], differing.allowed)), differing


def _nothing_answered(images: int, unshifted: float, by_shift: Mapping[str, tuple[float, Promise]]) -> str:
    worst = max(by_shift, key=lambda shift: by_shift[shift][0], default=None)
    if worst is None or unshifted >= by_shift[worst][0]:
        where, option = "", "--min-agreement"
    else:
        where, option = f' under "{worst}"', "--min-shifted-agreement"
    return (
        f"no threshold keeps what is demanded: on {images} validation images{where}, the small model errs where it is "
        "most confident, and the full one would answer all; use a small model that is closer to the full one, or "
        f"lower {option}"
    )


def _above(confidence: NDArray[np.float64], allowed: int) -> float:
    """The lowest threshold that at most `allowed` of the confidences reach; 0 if there are no more than that."""
    ranked = np.sort(confidence)[::-1]
    return just_above(float(ranked[max(allowed, 0)])) if len(ranked) > max(allowed, 0) else 0.0


def _most_missed(answers: Answers, labels: Sequence[str], rule: OperatingRecord) -> Promise:
    """The promise about missed images; if the full model alone misses more than allowed, the best available one."""
    point, demanded = rule.fitted.point, rule.fitted.missed.demanded
    images = int((answers.targets == list(labels).index(point.sensitive_class)).sum())
    promise = Promise.by_order_statistic(images, demanded)
    by_full = int(_missed(answers.full, answers.targets, labels, point).sum())
    if by_full <= promise.allowed:
        return promise
    bound = clopper_pearson_upper(by_full, images)
    return Promise(PromiseKind.BEST_AVAILABLE, demanded, bound, images, by_full)


def _missed(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64], labels: Sequence[str], point: OperatingPoint
) -> NDArray[np.bool_]:
    called, referred = point.decide(probabilities, labels)
    index = list(labels).index(point.sensitive_class)
    return np.asarray((targets == index) & (called != index) & ~referred)


def _figures(answers: Answers, threshold: float, labels: Sequence[str], point: OperatingPoint | None) -> CascadeFigures:
    combined, targets = answers.combined(threshold), answers.targets
    classes, full = combined.argmax(axis=1), answers.full.argmax(axis=1)
    missed = [
        None if point is None else int(_missed(probabilities, targets, labels, point).sum())
        for probabilities in (combined, answers.full)
    ]
    return CascadeFigures(
        images=len(targets),
        escalated=int(is_unsure(answers.small, threshold).sum()),
        differing=int((classes != full).sum()),
        right=int((classes == targets).sum()),
        full_right=int((full == targets).sum()),
        missed=missed[0],
        full_missed=missed[1],
        lost=int(((full == targets) & (classes != targets)).sum()),
    )
