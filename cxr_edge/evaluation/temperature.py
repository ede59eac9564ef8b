"""Temperature scaling: one number that calibrates probabilities and leaves every top class unchanged.

Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Standard deviation of the prior on the temperature's logarithm: from half to double with a probability of 68 %.
PRIOR_DEVIATION = float(np.log(2))
#: One for all images, or one for each, `[N, 1]`.
Temperature = float | NDArray[np.float64]


def apply_temperature(probabilities: NDArray[np.floating], temperature: Temperature) -> NDArray[np.float32]:
    """The probabilities `[N, K]` after dividing the logits by the temperature."""
    return np.asarray(np.exp(_log_scaled(probabilities, temperature)), dtype=np.float32)


def fit_temperature(probabilities: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """The most probable temperature, to four significant digits. Needs SciPy.

    Maximum a posteriori, with a normal prior around 0 on the temperature's logarithm: the likelihood of a validation
    split without a mistake is greatest at temperature 0, which means certainty. A weakly informative prior is the usual
    answer to such separation (Gelman et al., "A weakly informative default prior distribution for logistic and other
    regression models", 2008), and its influence fades as the number of images grows.

    Args:
        probabilities: `[N, K]` of a validation split.
        targets: label indices `[N]`.
    """
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        right = _log_scaled(probabilities, float(np.exp(logarithm)))[np.arange(len(targets)), targets]
        return float((logarithm / PRIOR_DEVIATION) ** 2 / 2 - right.sum())

    minimum = minimize_scalar(loss, bracket=(-PRIOR_DEVIATION, PRIOR_DEVIATION), method="brent")
    return float(f"{np.exp(minimum.x):.4g}")


def _log_scaled(probabilities: NDArray[np.floating], temperature: Temperature) -> NDArray[np.float64]:
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
