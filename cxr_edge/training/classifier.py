"""Load, save and apply the trained model of a run."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.store import DecodedImages
from cxr_edge.errors import RunError, first_line
from cxr_edge.files import replacing
from cxr_edge.runs import Run
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.xception import build_classifier


def load_classifier(run: Run) -> keras.Model:
    """The trained Keras model of a run, in float32. Raises RunError."""
    run.require_model()
    config = run.config()
    model = build_classifier(config.options.image_size, len(config.labels), config.network)
    try:
        model.load_weights(str(run.model_file))
    except Exception as error:
        raise RunError(f"{run.model_file}: cannot be read ({first_line(error)}); train again") from None
    return model


def save_classifier(run: Run, model: keras.Model) -> None:
    """Write the model of a run, atomically."""
    with replacing(run.model_file) as temporary, warnings.catch_warnings():
        # Keras recommends .keras, which cannot hold every model that .h5 can.
        warnings.simplefilter("ignore", UserWarning)
        model.save(str(temporary), save_format="h5", include_optimizer=False)


def compiled(model: keras.Model) -> Any:
    """The model in inference mode as one TensorFlow function: uint8 `[N, S, S, 1]` to probabilities, traced once."""
    return tf.function(lambda batch: model(tf.cast(batch, tf.float32), training=False))


def predict_probabilities(
    step: Any, images: NDArray[np.uint8] | DecodedImages, batch_size: int = 32
) -> NDArray[np.float32]:
    """float32 `[N, K]` from uint8 `[N, S, S, 1]`, by a `compiled` model, in batches."""
    parts = []
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        # Padded to one batch shape, so that TensorFlow traces once.
        padded = np.concatenate([batch, np.zeros((batch_size - len(batch), *batch.shape[1:]), batch.dtype)])
        parts.append(np.asarray(step(padded))[: len(batch)])
    return np.concatenate(parts).astype(np.float32)
