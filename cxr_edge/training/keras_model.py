"""The trained Keras model behind the runtimes' protocol: the baseline of every comparison (TensorFlow)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import OptionError
from cxr_edge.runs import Run
from cxr_edge.training.backend import THREADS, tf
from cxr_edge.training.classifier import load_classifier


class KerasSession:
    """The model of a run in a compiled graph, as a server would run it.

    Raises OptionError if TensorFlow already runs with another number of threads, which cannot change after its start.
    """

    def __init__(self, run: Run, threads: int = THREADS) -> None:
        if threads != THREADS:
            raise OptionError(
                f"TensorFlow runs with {THREADS} threads in this process, not {threads}; "
                f"set TF_NUM_INTRAOP_THREADS={threads}, or leave Keras out with --runtime"
            )
        model = load_classifier(run)
        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)]
        self._call: Any = tf.function(
            lambda images: model(tf.cast(images, tf.float32), training=False), input_signature=signature
        )

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._call(tf.constant(images)).numpy()
        return probabilities
