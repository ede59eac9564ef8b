"""Expected calibration error of the top class, with a bound. NumPy only: the device has no SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.binomial import CONFIDENCE

#: Equal-width bins of the confidence, as in Guo et al., "On Calibration of Modern Neural Networks" (2017).
BINS = 15
RESAMPLES = 1000


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error on a set of images, between 0 and 1.

    Binning overestimates it on few images: it is not 0 even for a perfectly calibrated model (Bröcker,
    "Estimating reliability and resolution of probability forecasts through decomposition of the empirical score",
    2012). `at_most` is the upper end of its one-sided 95 % bootstrap interval over images (Efron, 1979), which inherits
    the overestimate and so errs on the safe side. `by_chance` is the error that 95 of 100 perfectly calibrated models
    with the same confidences would stay below (consistency resampling: Bröcker and Smith, "Increasing the reliability
    of reliability diagrams", 2007).
    """

    value: float
    at_most: float
    by_chance: float


def expected_calibration_error(probabilities: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """Mean distance between confidence and accuracy over equal-width bins.

    Args:
        probabilities: `[N, K]`.
        targets: label indices `[N]`.
    """
    confidence, right = _top(probabilities, targets)
    return _error(_bins(confidence), confidence - right)


def calibration_error(probabilities: NDArray[np.floating], targets: NDArray[np.integer]) -> CalibrationError:
    """The expected calibration error with its bounds, which are reproducible for the same images."""
    confidence, right = _top(probabilities, targets)
    bins, distance = _bins(confidence), confidence - right
    random = np.random.default_rng(0)
    resampled, chance = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        drawn = random.integers(0, len(bins), len(bins))
        resampled[index] = _error(bins[drawn], distance[drawn])
        chance[index] = _error(bins, confidence - (random.random(len(bins)) < confidence))
    return CalibrationError(
        _error(bins, distance), float(np.quantile(resampled, CONFIDENCE)), float(np.quantile(chance, CONFIDENCE))
    )


def _top(
    probabilities: NDArray[np.floating], targets: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == targets


def _bins(confidence: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.minimum((confidence * BINS).astype(np.intp), BINS - 1)


def _error(bins: NDArray[np.intp], distance: NDArray[np.float64]) -> float:
    """The error, from each image's bin and its confidence, minus 1 if the image was classified correctly."""
    return float(np.abs(np.bincount(bins, distance, BINS)).sum() / len(bins))
