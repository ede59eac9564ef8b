"""Train a started run: from its split to its model and metrics."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cxr_edge.data.cache import decoded, is_decoded
from cxr_edge.data.layouts import PARTS
from cxr_edge.data.predictions import PREDICTED_PARTS, write_predictions
from cxr_edge.data.split import Split, run_split
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.files import write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import History, write_history
from cxr_edge.runs.network import LAST
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import FROM_SCRATCH
from cxr_edge.training.adam import FusedAdam
from cxr_edge.training.backend import keras
from cxr_edge.training.batches import Batches, augmentation_of, training_batches
from cxr_edge.training.classifier import compiled, predict_probabilities, save_classifier
from cxr_edge.training.compute_device import compute_device
from cxr_edge.training.distill import distill
from cxr_edge.training.dropout import CheckpointedDropout
from cxr_edge.training.loop import Phase, Validation, cosine_decay
from cxr_edge.training.precision import global_policy, training_policy
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.strategy import Distribution, distribution_of
from cxr_edge.training.validation import validator
from cxr_edge.training.xception import DROPOUT, build_classifier, freeze_blocks, load_pretrained

#: One in so many epochs of a fine-tuning, the last ones, has frozen batch norms.
_FROZEN_NORM_SHARE = 4


def train(run: Run, progress: Progress = SILENT) -> TrainingResult:
    """Train a started run, from its last finished epoch if it was interrupted, and write its model and metrics.

    Raises:
        DataError, OptionError, RunError, WeightsError.
    """
    config, split = run.config(), run_split(run)
    history, policy = fit(run, progress)
    with progress.working("testing"):
        trained = build_classifier(config.options.image_size, len(split.labels), config.network)
        trained.load_weights(str(run.best_weights))
        step, size = compiled(trained), config.options.image_size
        predicted = {part: predict_probabilities(step, decoded(split, part, size)) for part in PREDICTED_PARTS}
    metrics = RunMetrics(
        metrics=classification_metrics(split.targets("test"), predicted["test"], split.labels),
        data=config.training_data,
        precision_policy=policy,
    )
    write_predictions(run, split, predicted)
    write_history(run.history_file, history)
    write_json(run.metrics_file, to_json(metrics))
    # Last: a run with a model is a finished run.
    save_classifier(run, trained)
    shutil.rmtree(run.checkpoints)
    run.start_weights.unlink(missing_ok=True)
    return TrainingResult(run, metrics, history)


def fit(run: Run, progress: Progress = SILENT) -> tuple[History, str]:
    """Train a started run's epochs, on all workers together; the best weights are left in its checkpoints.

    Returns:
        The history, and the Keras precision policy.

    Raises:
        DataError, OptionError, RunError, WeightsError: as `train`.
    """
    config = run.config()
    options, split = config.options, run_split(run)
    distribution = distribution_of(options.strategy)
    # A new run's images are already decoded; those of a resumed run may no longer be.
    for part in (part for part in PARTS if not is_decoded(split, part, options.image_size)):
        with progress.stage(f"decoding {part} images", len(split.part(part))) as tick:
            decoded(split, part, options.image_size, partial(tick, ""))
    steps = (options.head_epochs + options.epochs) * (len(split.part("train")) // options.batch_size)
    policy = training_policy(run.checkpoints, options, len(split.labels), steps, progress)
    progress.computing(compute_device(distribution), policy)
    with global_policy(policy), distribution.checkpoints(run.checkpoints) as checkpoints, distribution.watching():
        if config.student is None:
            history = _fit(_Fitting(config, split, checkpoints, distribution), progress)
        else:
            history = distill(run, config, split, progress)
    return history, policy


@dataclass(frozen=True)
class _Fitting:
    """What is trained, how, and where its checkpoints are kept."""

    config: RunConfig
    split: Split
    checkpoints: Path
    distribution: Distribution


def _fit(fitting: _Fitting, progress: Progress) -> History:
    """Train both phases; afterwards the best weights are in the checkpoints."""
    options, split, distribution = fitting.config.options, fitting.split, fitting.distribution
    keras.utils.set_random_seed(options.seed)
    batches = training_batches(split, options.image_size, options.batch_size, options.seed, augmentation_of(options))
    distribution.check(batches)
    with distribution.scope():
        model = _model(fitting.config)
        distribution.prepare(model)
        loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    validate = _validator(model, fitting)

    def run_phase(phase: Phase, batches: Batches) -> History:
        resumed = phase.resume()
        done = len(resumed.epochs) * batches.steps
        with progress.stage(phase.name, phase.epochs * batches.steps, done) as tick:
            return phase.run(batches, resumed, tick, progress.epoch_finished)

    def phase_of(name: str, epochs: int, optimizer: keras.optimizers.Optimizer, floor: float = -np.inf) -> Phase:
        model.compile(optimizer, loss, metrics=["accuracy"])
        return Phase(name, model, model, epochs, validate, fitting.checkpoints, floor, distribution)

    history = History(())
    if options.head_epochs:
        freeze_blocks(model, fitting.config.network, LAST)
        with distribution.scope():
            phase = phase_of("head", options.head_epochs, FusedAdam(1e-3))
        history = run_phase(phase, batches)
    freeze_blocks(model, fitting.config.network, options.frozen_blocks)
    steps = options.epochs * batches.steps
    name = "fine-tuning" if options.head_epochs else "training"
    floor = max((epoch.score for epoch in history.epochs), default=-np.inf)
    with distribution.scope():
        optimizer = FusedAdam(cosine_decay(options.learning_rate, steps, warmup_steps=steps // 20))
        phase = phase_of(name, options.epochs, optimizer, floor)
    if options.weights != FROM_SCRATCH:
        phase.frozen_norm_epochs = options.epochs // _FROZEN_NORM_SHARE
    fine_tuned = run_phase(phase, replace(batches, seed=options.seed + 1))
    return History((*history.epochs, *fine_tuned.epochs))


def _model(config: RunConfig) -> keras.Model:
    options = config.options
    # Training from scratch has few steps: 0.99 would leave the moving statistics near their initial values.
    momentum = 0.9 if options.weights == FROM_SCRATCH else 0.99
    dropout = CheckpointedDropout(DROPOUT, options.seed, name="dropout")
    model = build_classifier(options.image_size, len(config.labels), config.network, momentum, dropout)
    if options.weights != FROM_SCRATCH:
        load_pretrained(model, options.weights)
    return model


def _validator(model: keras.Model, fitting: _Fitting) -> Callable[[], Validation]:
    """A `Phase.validate` on the validation split.

    A distributed model is read by all workers at once, so its weights are copied and each worker validates alone.
    """
    split, size = fitting.split, fitting.config.options.image_size
    images, targets = decoded(split, "validation", size), split.targets("validation")
    if fitting.distribution.strategy is None:
        return validator(model, images, targets, split.labels)
    copy = build_classifier(size, len(split.labels), fitting.config.network)
    validate = validator(copy, images, targets, split.labels)

    def validate_copy() -> Validation:
        copy.set_weights(model.get_weights())
        return validate()

    return validate_copy
