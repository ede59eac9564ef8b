"""Parity of an artifact with the Keras model it descends from, on the same images, as statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.verdict import FAILED, PASSED, UNDECIDED
from cxr_edge.evaluation.calibration import expected_calibration_error
from cxr_edge.evaluation.gate import Gate
from cxr_edge.evaluation.temperature import apply_temperature


def parity(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    gate: Gate,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Compare probabilities and judge them. Needs SciPy.

    Args:
        reference: `[N, K]`, by the Keras model.
        candidate: `[N, K]`, by the artifact.
        targets: label indices `[N]`.
        labels: K names.
        gate: the demands.
        temperature: that both were scaled by, to say how honest they were without.

    Returns:
        JSON-ready. Plain figures; under `intervals` those of accuracy, of both, their difference and the agreement;
        `mcnemar`; `classes` with sensitivity and specificity; `demands`, each with its figure, its limit, the bound it
        is judged by and its verdict; and `verdict`, the worst of those: passed, failed, not enough images.
    """
    from cxr_edge.statistics.intervals import divergence, mcnemar, paired_difference, share

    expected, found = reference.argmax(axis=1), candidate.argmax(axis=1)
    difference = np.abs(reference.astype(np.float64) - candidate)
    finite = bool(np.isfinite(candidate).all())
    right, reference_right, same = found == targets, expected == targets, found == expected
    agreement, accuracy = share(same), paired_difference(reference_right, right)
    classes = []
    for index, label in enumerate(labels):
        positive = targets == index
        row: dict[str, Any] = {"label": label, "images": int(positive.sum())}
        for name, rows, hit in (("sensitivity", positive, True), ("specificity", ~positive, False)):
            ours, theirs = ((top[rows] == index) == hit for top in (found, expected))
            row[name] = {
                "reference": share(theirs),
                "artifact": share(ours),
                "difference": paired_difference(theirs, ours),
            }
        classes.append(row)
    demands = [
        _demand("agreement", agreement["value"], gate.min_agreement, agreement["low"], at_least=True),
        _drop("accuracy drop", accuracy, gate.max_accuracy_drop),
        *(
            _drop(f"sensitivity drop, {row['label']}", row["sensitivity"]["difference"], gate.max_sensitivity_drop)
            for row in classes
            if row["images"]
        ),
    ]
    verdicts = [demand["verdict"] for demand in demands]
    worst = next((verdict for verdict in (FAILED, UNDECIDED) if verdict in verdicts), PASSED)
    return {
        "images": len(targets),
        "agreement": agreement["value"],
        "reference_accuracy": float(reference_right.mean()),
        "accuracy": float(right.mean()),
        "largest_difference": float(difference.max()) if finite else None,
        "mean_difference": float(difference.mean()) if finite else None,
        "divergence": divergence(reference, candidate) if finite else None,
        "calibration_error": {
            "reference": expected_calibration_error(reference, targets),
            "artifact": expected_calibration_error(candidate, targets) if finite else None,
            "reference_unscaled": expected_calibration_error(apply_temperature(reference, 1 / temperature), targets),
            "artifact_unscaled": (
                expected_calibration_error(apply_temperature(candidate, 1 / temperature), targets) if finite else None
            ),
        },
        "intervals": {
            "agreement": agreement,
            "reference_accuracy": share(reference_right),
            "accuracy": share(right),
            "accuracy_difference": accuracy,
        },
        "mcnemar": mcnemar(reference_right, right),
        "classes": classes,
        "gate": asdict(gate),
        "demands": demands,
        "verdict": worst if finite else FAILED,
    }


def _demand(name: str, value: float, limit: float, bound: float, at_least: bool) -> dict[str, Any]:
    """A figure misses its limit, or the bound of its interval keeps it, or there are too few images to tell."""
    # One image more or less must not decide by a rounding error of a subtraction.
    sign, slack = (1 if at_least else -1), 1e-9
    missed, proven = sign * (value - limit) < -slack, sign * (bound - limit) >= -slack
    verdict = FAILED if missed else PASSED if proven else UNDECIDED
    return {"name": name, "value": value, "limit": limit, "bound": bound, "verdict": verdict}


def _drop(name: str, difference: dict[str, Any], limit: float) -> dict[str, Any]:
    return _demand(name, -difference["value"], limit, difference["lost_at_most"], at_least=False)


def flipped(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """The images whose top class changed, with both probability vectors; the most confident changes first."""
    rows: list[dict[str, Any]] = [
        {
            "image": names[int(index)],
            "label": labels[int(targets[index])],
            "reference": reference[index].tolist(),
            "artifact": candidate[index].tolist(),
        }
        for index in np.flatnonzero(reference.argmax(axis=1) != candidate.argmax(axis=1))
    ]
    return sorted(rows, key=lambda row: -max(row["artifact"]))
