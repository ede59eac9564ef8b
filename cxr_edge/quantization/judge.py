"""How close an int8 graph is to the float one, on validation images as they are and under shift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.logits import signal_to_noise
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.quantization.calibrate import calibration_batch
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.runaway import ordinary_images
from cxr_edge.quantization.simulate import images_of
from cxr_edge.quantization.student import RangeStudent
from cxr_edge.quantization.teacher import Teacher
from cxr_edge.training.backend import tf

#: Maximum number of images for a check, each unshifted and shifted.
MOST_JUDGED = 128


@dataclass(frozen=True)
class Check:
    """How far the int8 graph was from the float one after some steps, on validation images as they are and shifted.

    Divergences are of the probabilities, in nats; the ratios of the logits' power to their errors', in dB.
    """

    step: int
    divergence: float
    shifted_divergence: float
    agreement: float
    shifted_agreement: float
    signal_to_noise_db: float
    shifted_signal_to_noise_db: float

    @property
    def distance(self) -> float:
        """The mean divergence, which is lowest for the best check."""
        return (self.divergence + self.shifted_divergence) / 2

    @property
    def closeness_db(self) -> float:
        """The lower of the two signal-to-noise ratios."""
        return min(self.signal_to_noise_db, self.shifted_signal_to_noise_db)


class Judge:
    """Compares int8 graphs with the float one, on validation images unshifted and under one shift each.

    Those on which the float graph runs away are left out: a single one of them would decide which graph is kept.

    Args:
        teacher: the float graph.
        validation: uint8 `[N, S, S, 1]`, of which at most `MOST_JUDGED` are used.
    """

    def __init__(self, teacher: Teacher, validation: NDArray[np.uint8]) -> None:
        plain = validation[np.sort(np.random.default_rng(0).permutation(len(validation))[:MOST_JUDGED])]
        shifted = [SUITE[index % len(SUITE)].apply(plain[index : index + 1]) for index in range(len(plain))]
        both = np.concatenate([plain, *shifted])
        ordinary = ordinary_images(teacher.graph, both, calibration_batch(teacher.graph.image_size))
        parts = [images[is_kept] for images, is_kept in zip(np.split(both, 2), np.split(ordinary, 2), strict=True)]
        self._logits = teacher.logits
        self._student: RangeStudent | None = None
        step = _traced_once(teacher.graph, lambda images: teacher.outputs(images)[0])
        self._parts = [(images, _log_probabilities(step, images)) for images in parts]

    def _logits_of(self, student: RangeStudent) -> Any:
        """The student's logits as a function, traced once, which takes seconds; what is learned is in variables."""
        if student is not self._student:
            self._student = student
            self._step = _traced_once(
                student.start.graph, lambda images: student.tensors(images, learning=False)[self._logits]
            )
        return self._step

    def __call__(self, student: RangeStudent, number: int) -> Check:
        plain, shifted = (self._compared(student, images, reference) for images, reference in self._parts)
        return Check(number, *(figure for pair in zip(plain, shifted, strict=True) for figure in pair))

    def _compared(
        self, student: RangeStudent, images: NDArray[np.uint8], reference: NDArray[np.float64]
    ) -> tuple[float, float, float]:
        """Divergence, agreement and signal-to-noise ratio of the student's answers to images."""
        logarithms = _log_probabilities(self._logits_of(student), images)
        divergence = (np.exp(reference) * (reference - logarithms)).sum(axis=1).mean()
        agreement = (logarithms.argmax(axis=1) == reference.argmax(axis=1)).mean()
        ratio = signal_to_noise(np.exp(reference), np.exp(logarithms))
        # None if the learning diverged, or if all logits of the float graph are equal.
        return float(divergence), float(agreement), 0.0 if ratio is None else ratio


def _traced_once(graph: Graph, compute: Callable[[Any], Any]) -> Any:
    return tf.function(lambda batch: compute(tf.cast(batch, tf.float32)), [images_of(graph)], autograph=False)


def _log_probabilities(step: Any, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    # A student of channel scales rounds its kernels anew for each batch.
    batch_size = calibration_batch(images.shape[1])
    rows = [step(images[start : start + batch_size]).numpy() for start in range(0, len(images), batch_size)]
    logits = np.concatenate(rows).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
