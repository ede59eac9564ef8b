"""Train a student on its teacher's answers.

Both see the same augmented images over many epochs, and the student learns only to match the teacher's answers (Beyer
et al., "Knowledge distillation: A good teacher is patient and consistent", 2022), so images need no labels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.data.store import ImageStore
from cxr_edge.data.unlabelled import unlabelled_images, unlabelled_sha256
from cxr_edge.errors import DataError, RunError, first_line
from cxr_edge.files import sha256_of
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig, Student
from cxr_edge.runs.history import History
from cxr_edge.runs.progress import Progress
from cxr_edge.training.adam import FusedAdam
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches, augmentation_of, training_batches
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities
from cxr_edge.training.dropout import CheckpointedDropout
from cxr_edge.training.loop import Phase, cosine_decay
from cxr_edge.training.precision import global_policy
from cxr_edge.training.validation import validator
from cxr_edge.training.xception import DROPOUT, build_classifier

#: Smallest probability in a logarithm.
_FLOOR = 1e-7


class Distiller(keras.Model):  # type: ignore[misc]
    """A student and its teacher as one model to fit; labels are ignored.

    Its loss is the divergence of the student's probabilities from the teacher's, its accuracy how often both name the
    same class. A student with a smaller input gets the same images, downscaled.
    """

    def __init__(self, student: keras.Model, teacher: keras.Model) -> None:
        super().__init__()
        teacher.trainable = False
        self.student, self.teacher = student, teacher
        self._size = student.input_shape[1:3]
        self._means = {name: keras.metrics.Mean(name=name) for name in ("loss", "accuracy")}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def train_step(self, data: Any) -> dict[str, Any]:
        images, _ = data
        targets = self.teacher(images, training=False)
        if images.shape[1:3] != self._size:
            images = tf.image.resize(images, self._size, antialias=True)
        with tf.GradientTape() as tape:
            answers = self.student(images, training=True)
            distances = _divergences(targets, answers)
            loss = tf.reduce_mean(distances)
        self.optimizer.minimize(loss, self.student.trainable_variables, tape=tape)
        same = tf.equal(tf.argmax(targets, axis=1), tf.argmax(answers, axis=1))
        self._means["loss"].update_state(distances)
        self._means["accuracy"].update_state(tf.cast(same, tf.float32))
        return {name: mean.result() for name, mean in self._means.items()}


def _divergences(targets: Any, answers: Any) -> Any:
    """Kullback-Leibler divergences in nats, float32 `[N]`, of probabilities `[N, K]` from their targets."""
    logarithms = [tf.math.log(tf.maximum(tf.cast(values, tf.float32), _FLOOR)) for values in (targets, answers)]
    return tf.reduce_sum(targets * (logarithms[0] - logarithms[1]), axis=1)


def distill(run: Run, config: RunConfig, split: Split, progress: Progress) -> History:
    """Train a student's network from its start weights; afterwards the best weights are in the run's checkpoints.

    Raises:
        RunError: the teacher's model is missing or has changed, or the start weights cannot be read.
        DataError: the unlabelled images have changed.
    """
    options, student = config.options, config.student
    assert student is not None
    keras.utils.set_random_seed(options.seed)
    teacher = teacher_model(student)
    batches = distillation_batches(config, split, teacher.input_shape[1])
    dropout = CheckpointedDropout(DROPOUT, options.seed, name="dropout")
    model = build_classifier(options.image_size, len(config.labels), config.network, dropout=dropout)
    try:
        model.load_weights(str(run.start_weights))
    except Exception as error:
        raise RunError(f"{run.start_weights}: cannot be read ({first_line(error)}); make the student again") from None
    distiller = Distiller(model, teacher)
    steps = options.epochs * batches.steps
    distiller.compile(FusedAdam(cosine_decay(options.learning_rate, steps, warmup_steps=steps // 20)))
    images = {size: decoded(split, "validation", size) for size in (options.image_size, teacher.input_shape[1])}
    answers = predict_probabilities(compiled(teacher), images[teacher.input_shape[1]])
    validate = validator(model, images[options.image_size], split.targets("validation"), split.labels, answers)
    phase = Phase("distillation", distiller, model, options.epochs, validate, run.checkpoints)
    resumed = phase.resume()
    done = len(resumed.epochs) * batches.steps
    with progress.stage(phase.name, steps, done) as tick:
        return phase.run(batches, resumed, tick, progress.epoch_finished)


def teacher_model(student: Student) -> keras.Model:
    """The model that a student learns from, in float32. Raises RunError if it is missing or has changed."""
    teacher = Run(Path(student.teacher))
    # Its answers are those that the student is judged by, whatever the student is trained in.
    with global_policy("float32"):
        model = load_classifier(teacher)
    if sha256_of(teacher.model_file) != student.teacher_sha256:
        raise RunError(f"{teacher.model_file}: not the model that the student was made from; make the student again")
    return model


def distillation_batches(config: RunConfig, split: Split, size: int) -> Batches:
    """A student's training images, with its unlabelled images, at the teacher's input size. Raises DataError."""
    student, options = config.student, config.options
    assert student is not None
    batches = training_batches(split, size, options.batch_size, options.seed + 1, augmentation_of(options))
    if not student.unlabelled:
        return batches
    digests = unlabelled_images([Path(folder) for folder in student.unlabelled], split, size)
    if unlabelled_sha256(digests) != student.unlabelled_sha256:
        raise DataError(
            f"{', '.join(student.unlabelled)}: images changed since the student was started; put them back, "
            "or make a new student"
        )
    labelled = [item.sha256 for item in split.part("train")]
    return replace(
        batches,
        images=ImageStore(size, split.resize).images([*labelled, *digests]),
        labels=np.concatenate([batches.labels, np.full(len(digests), -1)]),
    )
