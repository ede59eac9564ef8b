"""One resumable phase of training: epochs, each validated and checkpointed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.errors import RunError, first_line
from cxr_edge.files import replacing
from cxr_edge.intervals import Interval
from cxr_edge.runs.history import Epoch, History, write_history
from cxr_edge.runs.progress import Tick
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches
from cxr_edge.training.checkpoints import save_checkpoint
from cxr_edge.training.strategy import ALONE, Distribution
from cxr_edge.training.xception import freeze_batch_norms


@dataclass(frozen=True)
class Validation:
    """A model's performance on the validation split."""

    loss: float
    accuracy: Interval
    balanced_accuracy: Interval
    #: Ranks the epochs; higher is better.
    score: float


class _Ticker(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, tick: Tick, title: str) -> None:
        super().__init__()
        self._tick, self._title, self._text = tick, title, title

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if logs and batch % 5 == 0:
            self._text = f"{self._title} loss {logs['loss']:.4f}"
        self._tick(self._text)


@dataclass
class Phase:
    """A sequence of epochs with one compiled model; its checkpoints carry its name."""

    name: str
    #: The compiled model, whose `fit` is called.
    model: keras.Model
    #: The part that is checkpointed and kept: the model itself, or the student inside it.
    trained: keras.Model
    epochs: int
    #: Called after each epoch.
    validate: Callable[[], Validation]
    #: Folder of the run's checkpoints.
    folder: Path
    #: Score to exceed: the best of the earlier phases, whose weights are already kept.
    floor: float = -np.inf
    distribution: Distribution = ALONE
    #: Number of epochs, the last ones, with frozen batch norms. The best of them is kept if it exceeds the floor, even
    #: where an epoch before them was better.
    frozen_norm_epochs: int = 0

    def __post_init__(self) -> None:
        self._checkpoint = tf.train.Checkpoint(model=self.trained, optimizer=self.model.optimizer)

    @property
    def _state_file(self) -> Path:
        return self.folder / f"{self.name}.json"

    def resume(self) -> History:
        """Restore the state after the last finished epoch; without one, restore nothing and return an empty history.

        Raises:
            RunError: the checkpoint is damaged.
        """
        if not self._state_file.is_file():
            return History(())
        try:
            record = json.loads(self._state_file.read_text(encoding="utf-8"))
            history = History.from_json(record, best_before=self.floor)
            with self.distribution.scope():
                self.model.optimizer.build(self.model.trainable_variables)
            checkpoint = self.folder / self.name / f"ckpt-{history.epochs[-1].epoch}"
            self._checkpoint.restore(str(checkpoint)).expect_partial()
        except Exception as error:
            raise RunError(
                f"{self.folder}: its checkpoint cannot be read ({first_line(error)}); remove the folder to start again"
            ) from None
        return history

    def run(self, batches: Batches, history: History, tick: Tick, on_epoch: Callable[[Epoch, int], None]) -> History:
        """Continue training from a history returned by `resume`, and keep the weights with the best score in `best.h5`.

        The last epoch of that history is reported again: the training may have ended while it was reported.

        Raises:
            RunError: the loss is no longer finite, or a checkpoint cannot be written.
            CacheError: the cache of decoded images is damaged.
        """
        # Two are kept: after a kill between writing a checkpoint and its state file, the previous one still applies.
        manager = tf.train.CheckpointManager(self._checkpoint, str(self.folder / self.name), max_to_keep=2)
        best = max([self.floor, *(epoch.score for epoch in history.epochs)])
        before, frozen = self.epochs - self.frozen_norm_epochs, False
        for epoch in history.epochs[-1:]:
            on_epoch(epoch, self.epochs)
        for number in range(len(history.epochs) + 1, self.epochs + 1):
            if number > before and not frozen:
                # However good an epoch without frozen norms, it is not trained for what inference computes.
                best = max([self.floor, *(epoch.score for epoch in history.epochs[before:])])
                freeze_batch_norms(self.trained)
                with self.distribution.scope():
                    self.model.compile(self.model.optimizer, self.model.loss, metrics=["accuracy"])
                frozen = True
            epoch = self._epoch(batches, number, best, tick)
            if epoch.kept:
                best = epoch.score
                with replacing(self.folder / "best.h5") as temporary:
                    self.trained.save_weights(str(temporary), save_format="h5")
            history = History((*history.epochs, epoch))
            save_checkpoint(manager, number)
            write_history(self._state_file, history)
            on_epoch(epoch, self.epochs)
        return history

    def _epoch(self, batches: Batches, number: int, best: float, tick: Tick) -> Epoch:
        title = f"{self.name} {number}/{self.epochs}"
        with batches.explained():
            fitted = self.model.fit(
                self.distribution.epoch(batches, number - 1),
                # Keras does not know the length of a distributed data set.
                steps_per_epoch=batches.steps,
                initial_epoch=number - 1,
                epochs=number,
                verbose=0,
                callbacks=[_Ticker(tick, title)],
            )
        figures: dict[str, list[float]] = fitted.history
        loss, accuracy = (float(figures[name][-1]) if name in figures else 0.0 for name in ("loss", "accuracy"))
        validation = self.validate()
        if not np.isfinite([loss, accuracy, validation.loss, validation.score]).all():
            raise RunError(
                f"{title}: the training diverged, its loss is not a number; start a new run with a lower "
                "--learning-rate"
            )
        return Epoch(
            phase=self.name,
            epoch=number,
            loss=loss,
            accuracy=accuracy,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            validation_balanced_accuracy=validation.balanced_accuracy,
            score=validation.score,
            kept=validation.score > best,
        )


def cosine_decay(peak: float, steps: int, warmup_steps: int = 0) -> Any:
    """Learning rate: linear warm-up to `peak`, then half a cosine down to a hundredth of it."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 20 if warmup_steps else peak,
        decay_steps=max(1, steps - warmup_steps),
        alpha=0.01,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
