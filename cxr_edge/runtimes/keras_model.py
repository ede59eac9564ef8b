"""The trained Keras model behind the runtimes' protocol: the baseline of every comparison (TensorFlow)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runs import Run
from cxr_edge.training.backend import tf
from cxr_edge.training.train import load_classifier


def set_threads(threads: int) -> None:
    """Threads of TensorFlow's computations; has to come before its first one, or changes nothing."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


class KerasSession:
    """The model of a run in a compiled graph, as a server would run it."""

    def __init__(self, run: Run) -> None:
        model = load_classifier(run)
        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
        self._call: Any = tf.function(
            lambda images: model(tf.cast(images, tf.float32), training=False), input_signature=signature
        )

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._call(tf.constant(images)).numpy()
        return probabilities
