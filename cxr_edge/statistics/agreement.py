"""How well an artifact agrees with its reference under each condition, and the gate's verdict. Needs no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cxr_edge.artifacts.gate import Demand, Gate
from cxr_edge.artifacts.parity_result import ALL_PARTS, ALL_SHIFTS, ClassFlips, ConditionResult
from cxr_edge.data.layouts import PARTS
from cxr_edge.evaluation.conditions import Condition
from cxr_edge.evaluation.demands import at_least, not_proven_above
from cxr_edge.evaluation.logits import FLOOR, signal_to_noise
from cxr_edge.intervals import CONFIDENCE, Interval, wilson_interval
from cxr_edge.statistics.intervals import kl_divergences, sign_test


@dataclass(frozen=True)
class ScoredCondition:
    """A condition with the probabilities `[n, K]` of reference and candidate, and an ID for each image `[n]`."""

    part: str
    shift: str | None
    reference: NDArray[np.float32]
    candidate: NDArray[np.float32]
    identity: NDArray[np.intp]


def scored_conditions(
    conditions: Sequence[Condition],
    reference: Sequence[NDArray[np.float32]],
    candidate: Sequence[NDArray[np.float32]],
) -> list[ScoredCondition]:
    """Conditions with the probabilities `[n, K]` of the reference and of the artifact."""
    # An image of a part has the same number in all conditions of the part.
    starts = {part: 1_000_000 * index for index, part in enumerate(PARTS)}
    return [
        ScoredCondition(
            condition.part,
            condition.shift.name if condition.shift else None,
            first,
            second,
            condition.rows + starts.get(condition.part, 0),
        )
        for condition, first, second in zip(conditions, reference, candidate, strict=True)
    ]


def pooled_over_folds(folds: Sequence[Sequence[ScoredCondition]]) -> list[ScoredCondition]:
    """Each condition pooled over all folds, whose images are distinct. All folds must have the same conditions."""
    numbered = [
        [replace(entry, identity=entry.identity + 1_000_000_000 * number) for entry in fold]
        for number, fold in enumerate(folds)
    ]
    return [_pooled(entries, entries[0].part, entries[0].shift) for entries in zip(*numbered, strict=True)]


def compare_conditions(
    scored: Sequence[ScoredCondition], labels: Sequence[str], floor: float = FLOOR
) -> tuple[ConditionResult, ...]:
    """Results of each condition, and of those of the split pooled: unshifted, under each shift, and under all shifts.

    Args:
        scored: the scored conditions.
        labels: K names.
        floor: as for `signal_to_noise`.

    Returns:
        The pooled results first. Under all shifts together, an image counts once in the interval and the flips, by the
        balance of its shifted copies, which are not independent.
    """
    split = [entry for entry in scored if entry.part in PARTS]
    shifts = list(dict.fromkeys(entry.shift for entry in split))
    pooled = [_pooled([entry for entry in split if entry.shift == shift], ALL_PARTS, shift) for shift in shifts]
    if any(shifts):
        pooled.append(_pooled([entry for entry in split if entry.shift], ALL_PARTS, ALL_SHIFTS))
    return tuple(_result(entry, labels, floor) for entry in [*pooled, *scored])


def _pooled(scored: Sequence[ScoredCondition], part: str, shift: str | None) -> ScoredCondition:
    return ScoredCondition(
        part,
        shift,
        np.concatenate([entry.reference for entry in scored]),
        np.concatenate([entry.candidate for entry in scored]),
        np.concatenate([entry.identity for entry in scored]),
    )


def _result(scored: ScoredCondition, labels: Sequence[str], floor: float) -> ConditionResult:
    reference, candidate = scored.reference, scored.candidate
    finite = np.isfinite(candidate).all(axis=1)
    # Non-finite values agree with nothing.
    expected, top = reference.argmax(axis=1), np.where(finite, candidate.argmax(axis=1), -1)
    divergences = kl_divergences(reference, candidate) if finite.all() else None
    return ConditionResult(
        part=scored.part,
        shift=scored.shift,
        images=len(reference),
        agreement=_agreement(expected == top, len(np.unique(scored.identity))),
        signal_to_noise_db=signal_to_noise(reference, candidate, floor),
        mean_divergence=None if divergences is None else float(divergences.mean()),
        largest_divergence=None if divergences is None else float(divergences.max()),
        flips=tuple(_flips(label, expected == i, top == i, scored.identity) for i, label in enumerate(labels)),
    )


def _agreement(same: NDArray[np.bool_], images: int) -> Interval:
    share = float(same.mean())
    interval = wilson_interval(round(share * images), images)
    assert interval.low is not None and interval.high is not None
    return Interval(share, min(share, interval.low), max(share, interval.high))


def _flips(
    label: str, expected: NDArray[np.bool_], called: NDArray[np.bool_], identity: NDArray[np.intp]
) -> ClassFlips:
    images, index = np.unique(identity, return_inverse=True)
    balance = np.bincount(index, expected.astype(int) - called.astype(int), len(images))
    away, towards = int((balance > 0).sum()), int((balance < 0).sum())
    return ClassFlips(label, len(np.unique(index[expected])), away, towards, sign_test(away, towards))


def judge_conditions(conditions: Sequence[ConditionResult], gate: Gate) -> tuple[Demand, ...]:
    """The demands on images like the training images, on shifted images, and on images from elsewhere.

    Each condition demands agreement, and that no class loses images on balance, which shows drift first: agreement does
    not distinguish the direction of flips. A loss is bounded by the exact sign test (the Clopper-Pearson bound of the
    share of flips away from the class). The bounds of all classes, and of all single shifts, hold together at 95 %
    confidence (Bonferroni): with three classes, unshifted or under all shifts, a proven loss takes six flips one way
    and none back.
    """
    judged = [condition for condition in conditions if condition.part not in PARTS]
    shifts = sum(condition.part == ALL_PARTS and condition.shift not in (None, ALL_SHIFTS) for condition in judged)
    demands = []
    for condition in judged:
        if condition.shift != ALL_SHIFTS:
            like_training = condition.part == ALL_PARTS and condition.shift is None
            limit = gate.min_agreement if like_training else gate.min_shifted_agreement
            demands.append(at_least("agreement", condition.agreement, limit, condition.name))
        together = len(condition.flips) * (1 if condition.shift in (None, ALL_SHIFTS) else shifts)
        for flips in condition.flips:
            bound = _loss_at_least(flips, 1 - (1 - CONFIDENCE) / together)
            demands.append(
                not_proven_above(f"class loss, {flips.label}", flips.loss, gate.max_class_loss, bound, condition.name)
            )
    return tuple(demands)


def _loss_at_least(flips: ClassFlips, confidence: float) -> float:
    discordant = flips.away + flips.towards
    if not discordant:
        return 0.0
    share = stats.binomtest(flips.away, discordant, alternative="greater").proportion_ci(confidence, method="exact").low
    return float((2 * share - 1) * discordant / flips.images) if flips.images else 0.0
