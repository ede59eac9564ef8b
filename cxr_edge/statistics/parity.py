"""Statistics of an artifact's parity with its Keras model on the same labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.gate import Demand, Gate
from cxr_edge.artifacts.parity_result import (
    CalibrationErrors,
    ClassParity,
    ConditionResult,
    PairedDifference,
    PairedRates,
    ParityIntervals,
    ParityResult,
)
from cxr_edge.artifacts.verdict import Verdict, worst
from cxr_edge.evaluation.calibration import expected_calibration_error
from cxr_edge.evaluation.demands import at_least, at_most
from cxr_edge.evaluation.shifts import VERSION
from cxr_edge.evaluation.temperature import Temperature, apply_temperature
from cxr_edge.evaluation.verified_artifact import FlippedImage
from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.statistics.agreement import judge_conditions
from cxr_edge.statistics.intervals import kl_divergence, mcnemar, paired_difference

Probabilities = NDArray[np.float32]


def parity(
    reference: Probabilities,
    candidate: Probabilities,
    targets: NDArray[np.integer],
    labels: Sequence[str],
    gate: Gate,
    temperature: Temperature = 1.0,
) -> ParityResult:
    """Compare probabilities on labelled images and judge them.

    Args:
        reference: `[N, K]`, by the Keras model.
        candidate: `[N, K]`, by the artifact.
        targets: label indices `[N]`.
        labels: K names.
        gate: the demands.
        temperature: that both were scaled by, to report the calibration without it too; `[N, 1]` if the images come
            from several models.

    Returns:
        Figures with their intervals, and the demands, each with its figure, limit, the bound it is judged by and
        verdict. Non-finite values fail.
    """
    right, reference_right = (top.argmax(axis=1) == targets for top in (candidate, reference))
    agreement = _proportion(candidate.argmax(axis=1) == reference.argmax(axis=1))
    accuracy = paired_difference(reference_right, right)
    assert agreement.value is not None
    classes = tuple(_class_parity(index, label, reference, candidate, targets) for index, label in enumerate(labels))
    demands = (
        at_least("agreement", agreement, gate.min_agreement),
        _drop("accuracy drop", accuracy, gate.max_accuracy_drop),
        *(
            _drop(f"sensitivity drop, {row.label}", row.sensitivity.difference, gate.max_sensitivity_drop)
            for row in classes
            if row.images
        ),
    )
    difference = np.abs(reference.astype(np.float64) - candidate)
    finite = bool(np.isfinite(candidate).all())
    return ParityResult(
        images=len(targets),
        agreement=agreement.value,
        reference_accuracy=float(reference_right.mean()),
        accuracy=float(right.mean()),
        largest_difference=float(difference.max()) if finite else None,
        mean_difference=float(difference.mean()) if finite else None,
        divergence=kl_divergence(reference, candidate) if finite else None,
        calibration_error=_calibration_errors(reference, candidate, targets, temperature),
        intervals=ParityIntervals(agreement, _proportion(reference_right), _proportion(right), accuracy),
        mcnemar=mcnemar(reference_right, right),
        classes=classes,
        gate=gate,
        demands=demands,
        verdict=worst(demand.verdict for demand in demands) if finite else Verdict.FAILED,
    )


def with_conditions(result: ParityResult, conditions: Sequence[ConditionResult]) -> ParityResult:
    """The result, judged also under conditions that need no labels.

    Agreement is then demanded on all images that resemble the training images: more than `result` was computed on.
    """
    demands = (*result.demands[1:], *judge_conditions(conditions, result.gate))
    finite = all(condition.mean_divergence is not None for condition in conditions)
    failed = result.largest_difference is None or not finite
    return replace(
        result,
        suite=VERSION,
        conditions=tuple(conditions),
        demands=demands,
        verdict=Verdict.FAILED if failed else worst(demand.verdict for demand in demands),
    )


def _proportion(hits: NDArray[np.bool_]) -> Interval:
    return wilson_interval(int(hits.sum()), len(hits))


def _class_parity(
    index: int, label: str, reference: Probabilities, candidate: Probabilities, targets: NDArray[np.integer]
) -> ClassParity:
    positive = targets == index

    def rates(rows: NDArray[np.bool_], called: bool) -> PairedRates:
        theirs, ours = ((top.argmax(axis=1)[rows] == index) == called for top in (reference, candidate))
        return PairedRates(_proportion(theirs), _proportion(ours), paired_difference(theirs, ours))

    return ClassParity(label, int(positive.sum()), rates(positive, True), rates(~positive, False))


def _calibration_errors(
    reference: Probabilities, candidate: Probabilities, targets: NDArray[np.integer], temperature: Temperature
) -> CalibrationErrors:
    def both(probabilities: Probabilities) -> tuple[float | None, float | None]:
        if not np.isfinite(probabilities).all():
            return None, None
        unscaled = apply_temperature(probabilities, 1 / temperature)
        return expected_calibration_error(probabilities, targets), expected_calibration_error(unscaled, targets)

    (expected, expected_unscaled), (actual, actual_unscaled) = both(reference), both(candidate)
    assert expected is not None and expected_unscaled is not None
    return CalibrationErrors(expected, actual, expected_unscaled, actual_unscaled)


def _drop(name: str, difference: PairedDifference, limit: float) -> Demand:
    assert difference.value is not None and difference.lost_at_most is not None
    return at_most(name, -difference.value, limit, difference.lost_at_most)


def flipped(
    reference: Probabilities,
    candidate: Probabilities,
    targets: NDArray[np.integer],
    labels: Sequence[str],
    names: Sequence[str],
) -> tuple[FlippedImage, ...]:
    """The images whose top class changed, with both probability vectors; the most confident changes first."""
    rows = [
        FlippedImage(
            image=names[int(index)],
            label=labels[int(targets[index])],
            reference=tuple(reference[index].tolist()),
            artifact=tuple(candidate[index].tolist()),
        )
        for index in np.flatnonzero(reference.argmax(axis=1) != candidate.argmax(axis=1))
    ]
    return tuple(sorted(rows, key=lambda row: -max(row.artifact)))
