"""How an epoch is judged, on the validation split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.store import DecodedImages
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.training.backend import keras
from cxr_edge.training.classifier import compiled, predict_probabilities
from cxr_edge.training.loop import Validation


def validator(
    model: keras.Model,
    images: NDArray[np.uint8] | DecodedImages,
    targets: NDArray[np.int64],
    labels: tuple[str, ...],
) -> Callable[[], Validation]:
    """A `Phase.validate` that scores by balanced accuracy, ties broken by cross-entropy."""
    step = compiled(model)

    def validate() -> Validation:
        probabilities = predict_probabilities(step, images)
        loss = float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7)).mean())
        metrics = classification_metrics(targets, probabilities, labels)
        balanced = metrics.balanced_accuracy
        score = (balanced.value or 0.0) - 1e-3 * min(loss, 100.0)
        return Validation(loss, metrics.accuracy, balanced, score)

    return validate
