"""Temperature scaling: one number that makes probabilities honest, and leaves every top class as it is.

Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A validation split without a mistake would ask for a temperature of 0, that is, for certainty.
LOWEST, HIGHEST = 0.25, 4.0


def tempered(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float32]:
    """Probabilities `[N, K]` as they would be with the logits divided by the temperature."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_temperature(probabilities: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """The temperature with the least negative log-likelihood, to four digits. Needs SciPy.

    Args:
        probabilities: `[N, K]` of a validation split.
        targets: label indices `[N]`.
    """
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        right = tempered(probabilities, float(np.exp(logarithm)))[np.arange(len(targets)), targets]
        return float(-np.log(np.maximum(right.astype(np.float64), 1e-30)).mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return round(float(np.exp(found.x)), 4)
