"""Dropout that a resumed training continues as if it had not been interrupted."""

from __future__ import annotations

from typing import Any

from cxr_edge.training.backend import keras, tf


class CheckpointedDropout(keras.layers.Layer):  # type: ignore[misc]
    """Keras's dropout, except that the state of its random generator is in every TensorFlow checkpoint of the model.

    Keras keeps its own generator's state out of checkpoints, so a resumed training would draw the first epoch's masks
    again. The state is not a weight: a weights file fits models with either layer.
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.generator = tf.random.Generator.from_seed(seed)

    def call(self, inputs: Any, training: Any = None) -> Any:
        if not training:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=self.generator.make_seeds(1)[:, 0])
