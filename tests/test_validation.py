"""How an epoch is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.training.backend import tf
from cxr_edge.training.loop import Validation
from cxr_edge.training.validation import validator

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")


def probabilities(of_covid: list[float], of_others: float, targets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows with these probabilities for the right class of each image."""
    right = np.full(len(targets), of_others, np.float32)
    right[targets == 0] = of_covid
    rows = np.repeat(((1 - right) / 2)[:, None], 3, axis=1)
    rows[np.arange(len(targets)), targets] = right
    return rows


def judged(
    of_covid: list[float], of_others: float, targets: NDArray[np.int64], teacher: NDArray[np.float32] | None = None
) -> Validation:
    """The validation of a model that gives the right class of each image these probabilities."""
    rows = probabilities(of_covid, of_others, targets)
    padded = np.concatenate([rows, np.full((32 - len(rows), 3), 1 / 3, np.float32)])

    def model(images: Any, training: bool) -> Any:
        return tf.constant(padded)

    return validator(model, np.zeros((len(targets), 8, 8, 1), np.uint8), targets, LABELS, teacher)()


def test_an_epoch_is_scored_by_cross_entropy_averaged_over_the_classes() -> None:
    targets = np.array([0, 0] + [1] * 8 + [2] * 8)
    validation = judged([0.5, 0.25], 0.8, targets)
    rare, frequent = -np.log([0.5, 0.25]).mean(), -np.log(0.8)
    assert np.isclose(validation.score, -(rare + 2 * frequent) / 3, atol=1e-5)
    assert np.isclose(validation.loss, (2 * rare + 16 * frequent) / 18, atol=1e-5)


def test_a_lucky_image_of_a_rare_class_does_not_decide() -> None:
    targets = np.array([0, 0] + [1] * 8 + [2] * 8)
    lucky = judged([0.5, 0.5], 0.55, targets)
    sure = judged([0.95, 0.32], 0.95, targets)
    assert lucky.balanced_accuracy.value == 1
    assert (sure.balanced_accuracy.value or 0) < 1
    assert sure.score > lucky.score


def test_a_student_is_scored_by_its_teachers_answers_and_not_by_the_labels() -> None:
    targets = np.array([0, 0] + [1] * 8 + [2] * 8)
    # The teacher is sure of a wrong class of one image.
    teacher = probabilities([0.95, 0.001], 0.95, targets)
    alike, unsure = (judged([0.9, own], 0.9, targets, teacher) for own in (0.002, 0.3))
    assert alike.score > unsure.score
    assert judged([0.9, 0.002], 0.9, targets).score < judged([0.9, 0.3], 0.9, targets).score
    assert judged([0.95, 0.001], 0.95, targets, teacher).score == 0
