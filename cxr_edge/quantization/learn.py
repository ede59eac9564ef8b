"""Quantization-aware fine-tuning of ranges, channel scales and biases, but not of kernels.

The float function stays the same. Its kernels cost nothing in int8 (29.4 dB of the logits on new images of the same
kind), the activations everything (18.2 dB). Fine-tuning the kernels makes them compensate for ranges that clip: it
moves them in a direction that cancels the clipping on training images and nowhere else (12.8 dB with everything else in
float), and on 818 held-out images, with two seeds, lost 21 and won 3. Some ten thousand bounds, scales and biases,
trained to reproduce the float model's outputs, have little capacity to overfit. The bounds are learned as in "Learned
Step Size Quantization" (Esser et al., 2020), with a distillation loss on residual sums, pooled features and logits, on
the augmented training images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.errors import RunError, first_line
from cxr_edge.files import write_json
from cxr_edge.progress import Steps
from cxr_edge.quantization.flat_optimizer import FlatOptimizer
from cxr_edge.quantization.judge import Check, Judge
from cxr_edge.quantization.quantized_graph import QuantizedGraph, load_quantized_graph
from cxr_edge.quantization.reproducible import as_traced
from cxr_edge.quantization.student import RangeStudent
from cxr_edge.quantization.teacher import Teacher
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches
from cxr_edge.training.checkpoints import save_checkpoint

#: How often the result so far is checked and saved, and the minimum of steps between: a check costs as much as two.
CHECKS, MIN_STEPS_BETWEEN = 4, 8


@dataclass(frozen=True)
class LearningOptions:
    """How to fine-tune.

    Args:
        steps: at least two, of one batch each.
        learning_rate: peak rate of the logarithms of the bounds.
        only_if_needed: learn nothing if the calibrated graph is close enough to the float one; see `fine_tune`.
    """

    steps: int = 300
    learning_rate: float = 2e-3
    only_if_needed: bool = True


@as_traced()
def learn(
    student: RangeStudent,
    teacher: Teacher,
    batches: Batches,
    judge: Judge,
    span: range,
    learning_rate: float,
    key: Mapping[str, Any],
    folder: Path,
    bar: Steps,
    rival: tuple[Check, QuantizedGraph] | None = None,
) -> tuple[QuantizedGraph, list[Check]]:
    """Train a student to reproduce the float graph's outputs.

    The untrained student is checked too, so that the result is at least as close to the float model, on images both
    like and unlike the training set's.

    Args:
        student: the int8 graph to train, at its starting point.
        teacher: the float graph that the student's was made from.
        batches: training images; their labels are not used.
        judge: compares the student with the float graph.
        span: the numbers of the steps, of one batch each.
        learning_rate: the peak rate of the logarithms of the bounds.
        key: identifies the model and the options, JSON-ready.
        folder: for checkpoints; interrupted training is resumed from there.
        bar: advanced by each step.
        rival: another candidate for the result, and its check.

    Returns:
        The best graph, and all checks: first the rival's, if any, then the untrained student's.

    Raises:
        RunError: a checkpoint is damaged or cannot be written, or the learning diverged.
        CacheError: the cache of decoded images is damaged.
    """
    optimizers = [FlatOptimizer(group, _adam(learning_rate * rate, len(span))) for group, rate in student.learned()]
    state = _State(folder, key, student, optimizers)
    if state.checks:
        bar.advance(state.checks[-1].step - span.start)
    else:
        start = [(judge(student, span.start), student.result())]
        state.keep(start if rival is None else [rival, *start])
    step = _training_step(student, teacher, optimizers)
    interval = max(-(-len(span) // CHECKS), MIN_STEPS_BETWEEN)
    for number, images in _images(batches, state.checks[-1].step, span.stop):
        loss = step(images)
        bar.advance()
        if number % 5 == 0:
            bar.note(f"step {number} loss {float(loss):.4f}")
        if (number - span.start) % interval == 0 or number == span.stop:
            check = judge(student, number)
            # The loss is of the variables before the step, the check of those after it.
            if not np.isfinite([float(loss), check.distance]).all():
                raise RunError(
                    "int8: the fine-tuning diverged, its loss is not a number; use a lower --qat-learning-rate"
                )
            state.keep([(check, student.result())])
    return state.best(), state.checks


def _adam(rate: float, steps: int) -> Any:
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))


def _training_step(
    student: RangeStudent, teacher: Teacher, optimizers: Sequence[FlatOptimizer]
) -> Callable[[Any], Any]:
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(images: Any) -> Any:
        # The device gets whole grey values.
        images = tf.round(images)
        outputs = teacher.outputs(images)
        with tf.GradientTape() as tape:
            tensors = student.tensors(images)
            loss = teacher.loss([student.unscaled(name, tensors[name]) for name in teacher.names], outputs)
        # None for variables that only the heat map uses, which is not in the loss.
        gradients = tape.gradient(loss, [optimizer.variables for optimizer in optimizers])
        for group, optimizer in zip(gradients, optimizers, strict=True):
            optimizer.apply(group)
        return loss

    return step  # type: ignore[no-any-return]


def _images(batches: Batches, done: int, steps: int) -> Iterator[tuple[int, Any]]:
    """The number of each step still to do, from 1, and its images; the same ones whether resumed or not."""
    while done < steps:
        epoch, skipped = divmod(done, batches.steps)
        with batches.explained():
            for images, *_ in batches.epoch(epoch).skip(skipped).take(steps - done):
                done += 1
                yield done, images


class _State:
    """The checks so far, the variables at the last one and the graph of the best one, saved in a folder."""

    def __init__(
        self, folder: Path, key: Mapping[str, Any], student: RangeStudent, optimizers: Sequence[FlatOptimizer]
    ) -> None:
        self.folder, self.key, self.student, self._optimizers = folder, key, student, optimizers
        self._file = folder / "checks.json"
        flat = {f"variable_{index}": optimizer.flat for index, optimizer in enumerate(optimizers)}
        adams = {f"optimizer_{index}": optimizer.optimizer for index, optimizer in enumerate(optimizers)}
        self._checkpoint = tf.train.Checkpoint(**flat, **adams)
        # Two are kept: a kill between writing a checkpoint and the checks leaves the previous one valid.
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder / "state"), max_to_keep=2)
        self.checks = self._resumed()

    def _resumed(self) -> list[Check]:
        try:
            record = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            record = None
        if record is None or record["key"] != self.key:
            shutil.rmtree(self.folder, ignore_errors=True)
            return []
        checks = [Check(**row) for row in record["checks"]]
        try:
            self._checkpoint.restore(str(self.folder / "state" / f"ckpt-{checks[-1].step}")).expect_partial()
        except Exception as error:
            raise RunError(
                f"{self.folder}: its checkpoint cannot be read ({first_line(error)}); remove the folder to start again"
            ) from None
        for optimizer in self._optimizers:
            optimizer.scatter()
        return checks

    def keep(self, checked: Sequence[tuple[Check, QuantizedGraph]]) -> None:
        """Add checks, save the variables, and save a graph that is closer to the float one than all before it."""
        for check, graph in checked:
            if all(check.distance < other.distance for other in self.checks):
                graph.save(self._best, self.key)
            self.checks.append(check)
        save_checkpoint(self._manager, self.checks[-1].step)
        write_json(self._file, {"key": self.key, "checks": [vars(check) for check in self.checks]})

    @property
    def _best(self) -> Path:
        return self.folder / "best.npz"

    def best(self) -> QuantizedGraph:
        graph = load_quantized_graph(self.student.start.graph, self._best, self.key)
        if graph is None:
            raise RunError(f"{self._best}: cannot be read; remove {self.folder} to start again")
        return graph
