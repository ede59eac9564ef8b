"""The expected calibration error, and what its bounds say."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.evaluation.calibration import BINS, calibration_error, expected_calibration_error


def drawn(images: int, stated: float, real: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images of which `real` are right, where `stated` is claimed."""
    right = np.random.default_rng(seed).random(images) < real
    return np.tile([stated, 1 - stated], (images, 1)), (~right).astype(int)


def test_it_is_the_mean_distance_of_confidence_and_accuracy_over_bins() -> None:
    random = np.random.default_rng(0)
    probabilities, targets = random.dirichlet([0.5, 0.5, 0.5], 500), random.integers(0, 3, 500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    expected = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS)
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert expected_calibration_error(probabilities, targets) == pytest.approx(expected)
    error = calibration_error(probabilities, targets)
    assert error.value == pytest.approx(expected)
    assert error == calibration_error(probabilities, targets)


def test_only_an_overconfident_model_exceeds_the_error_expected_by_chance() -> None:
    below = [(error := calibration_error(*drawn(200, 0.8, 0.8, seed))).value <= error.by_chance for seed in range(20)]
    assert np.mean(below) >= 0.8
    overconfident = calibration_error(*drawn(200, 0.95, 0.8))
    assert overconfident.value > overconfident.by_chance


def test_the_bound_is_above_the_true_error_in_most_draws_and_narrows_with_more_images() -> None:
    kept = [calibration_error(*drawn(200, 0.9, 0.8, seed)).at_most >= 0.1 for seed in range(20)]
    assert np.mean(kept) >= 0.8
    few, many = calibration_error(*drawn(100, 0.9, 0.8)), calibration_error(*drawn(5000, 0.9, 0.8))
    assert many.at_most - many.value < few.at_most - few.value
