"""Dropout that a resumed training continues as if it had not been interrupted."""

from __future__ import annotations

from typing import Any

from cxr_edge.training.backend import keras, tf


class CheckpointedDropout(keras.layers.Layer):  # type: ignore[misc]
    """Keras' dropout, but for its random generator: the state is part of every TensorFlow checkpoint of the model.

    Keras keeps the state of its own out of checkpoints, so that a resumed training would draw the first epoch's masks
    again. It is no weight: a weights file fits models with either layer.
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.generator = tf.random.Generator.from_seed(seed)

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not training:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=self.generator.make_seeds(1)[:, 0])
