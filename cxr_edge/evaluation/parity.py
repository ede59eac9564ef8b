"""Parity of an artifact with the Keras model it descends from, on the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import OptionError


@dataclass(frozen=True)
class Gate:
    """What is demanded of an artifact: shares of 1, the accuracy drop in units of accuracy."""

    min_agreement: float = 0.95
    max_accuracy_drop: float = 0.02

    def check(self) -> None:
        """Raises OptionError for a share outside 0..1."""
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise OptionError(f"--{name.replace('_', '-')} {value}: a share from 0 to 1 is needed")


def demanded(min_agreement: float | None, max_accuracy_drop: float | None) -> dict[str, float]:
    """The demands that were named, as arguments of `Gate`."""
    given = {"min_agreement": min_agreement, "max_accuracy_drop": max_accuracy_drop}
    return {name: value for name, value in given.items() if value is not None}


def parity(
    reference: NDArray[np.float32], candidate: NDArray[np.float32], targets: NDArray[np.integer], gate: Gate
) -> dict[str, Any]:
    """Compare probabilities and judge them.

    Args:
        reference: `[N, K]`, by the Keras model.
        candidate: `[N, K]`, by the artifact.
        targets: label indices `[N]`.
        gate: the demands.

    Returns:
        JSON-ready figures, the demands, and `verdict`: passed or failed.
    """
    expected, found = reference.argmax(axis=1), candidate.argmax(axis=1)
    difference = np.abs(reference.astype(np.float64) - candidate)
    agreement = float((expected == found).mean())
    reference_accuracy, accuracy = float((expected == targets).mean()), float((found == targets).mean())
    # One image more or less must not decide by a rounding error of the subtraction.
    passed = agreement >= gate.min_agreement and reference_accuracy - accuracy <= gate.max_accuracy_drop + 1e-9
    finite = bool(np.isfinite(candidate).all())
    return {
        "images": len(targets),
        "agreement": agreement,
        "reference_accuracy": reference_accuracy,
        "accuracy": accuracy,
        "largest_difference": float(difference.max()) if finite else None,
        "mean_difference": float(difference.mean()) if finite else None,
        "gate": asdict(gate),
        "verdict": "passed" if passed and finite else "failed",
    }
