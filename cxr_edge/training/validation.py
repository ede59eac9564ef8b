"""Scores an epoch on the validation split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.store import DecodedImages
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.statistics.intervals import kl_divergences
from cxr_edge.training.backend import keras
from cxr_edge.training.classifier import compiled, predict_probabilities
from cxr_edge.training.loop import Validation


def validator(
    model: keras.Model,
    images: NDArray[np.uint8] | DecodedImages,
    targets: NDArray[np.int64],
    labels: tuple[str, ...],
    teacher: NDArray[np.float32] | None = None,
) -> Callable[[], Validation]:
    """A `Phase.validate` that scores by cross-entropy, a student by its divergence from its teacher.

    Either is the mean over the classes. One image of a class of 33 would change balanced accuracy by a point, and an
    early epoch might win by luck. The better a student learns its teacher's answers, the surer it becomes of its
    teacher's errors, for which cross-entropy would prefer an early epoch, still unlike the teacher.

    Args:
        model: scored each time.
        images: uint8 `[N, H, W, 1]`.
        targets: label indices `[N]`.
        labels: their names.
        teacher: the teacher's probabilities `[N, K]` for the same images; None without a teacher.
    """
    step = compiled(model)

    def validate() -> Validation:
        probabilities = predict_probabilities(step, images)
        losses = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7))
        distances = losses if teacher is None else kl_divergences(teacher, probabilities)
        by_class = [distances[targets == label].mean() for label in np.unique(targets)]
        metrics = classification_metrics(targets, probabilities, labels)
        return Validation(float(losses.mean()), metrics.accuracy, metrics.balanced_accuracy, -float(np.mean(by_class)))

    return validate
