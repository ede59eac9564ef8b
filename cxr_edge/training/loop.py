"""One resumable training loop, used by both phases of training and by quantization-aware fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.console import Bar
from cxr_edge.data.store import DecodedImages
from cxr_edge.errors import RunError, first_line
from cxr_edge.files import replacing, write_json
from cxr_edge.training.augment import Augmentation, augment
from cxr_edge.training.backend import keras, tf


@dataclass(frozen=True)
class Batches:
    """Training images with what is to be learned from them.

    `images` is uint8 `[N, S, S, 1]`, `targets` float32 `[N, ...]` (one-hot labels), `weights` float32 `[N]`.
    """

    images: NDArray[np.uint8] | DecodedImages
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        # The incomplete last batch is dropped: batch norm suffers from a batch of one or two.
        return max(1, len(self.images) // self.batch_size)

    def epoch(self, number: int) -> Any:
        """The shuffled, augmented batches of an epoch: the same for the same seed and number, resumed or not."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.images))
        size = min(self.batch_size, len(order))
        batches = order[: self.steps * size].reshape(self.steps, size)

        def gather(step: Any) -> tuple[Any, Any, Any]:
            rows = np.sort(batches[step])
            return self.images[rows], self.targets[rows], self.weights[rows]

        def prepare(step: Any) -> tuple[Any, Any, Any]:
            images, targets, weights = tf.numpy_function(gather, [step], [tf.uint8, tf.float32, tf.float32])
            images.set_shape([size, *self.images.shape[1:]])
            targets.set_shape([size, *self.targets.shape[1:]])
            weights.set_shape([size])
            seed = tf.stack([tf.cast(self.seed, tf.int32), tf.cast(number * 1_000_003 + step, tf.int32)])
            return augment(tf.cast(images, tf.float32), seed, Augmentation()), targets, weights

        # One core prepares 600 images of 299 px a second, two 1300: a GPU may take more. Their order stays.
        return tf.data.Dataset.range(self.steps).map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(4)


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, bar: Bar, title: str) -> None:
        super().__init__()
        self._bar, self._title = bar, title

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._bar.advance()
        if logs and batch % 5 == 0:
            self._bar.note(f"{self._title} loss {logs['loss']:.4f}")


@dataclass
class Phase:
    """A stretch of epochs with one compiled model; its checkpoints carry its name."""

    name: str
    #: Compiled; its fit is called.
    model: keras.Model
    #: The part of it that is checkpointed and kept: the model itself, or the student inside it.
    trained: keras.Model
    epochs: int
    #: Called after each epoch; returns figures to record, `score` among them (higher is better).
    validate: Callable[[], dict[str, float]]
    #: Whether the model as it starts competes for the best weights too.
    start_competes: bool = False
    #: Score that is to be exceeded: the best of the phases before, whose weights are kept already.
    floor: float = -np.inf

    def run(self, batches: Batches, folder: Path, bar: Bar, best: Path) -> list[dict[str, Any]]:
        """Train, or go on from the last finished epoch, and keep the weights with the best `score` in `best`.

        Returns:
            One row of figures an epoch, and before them one of the start (epoch 0) if it competes.
        """
        state_file = folder / f"{self.name}.json"
        checkpoint = tf.train.Checkpoint(model=self.trained, optimizer=self.model.optimizer)
        # Two are kept: a kill between writing a checkpoint and its state file leaves the one before in force.
        manager = tf.train.CheckpointManager(checkpoint, str(folder / self.name), max_to_keep=2)
        rows: list[dict[str, Any]] = []
        if state_file.is_file():
            try:
                rows = json.loads(state_file.read_text(encoding="utf-8"))
                self.model.optimizer.build(self.model.trainable_variables)
                checkpoint.restore(str(folder / self.name / f"ckpt-{rows[-1]['epoch']}")).expect_partial()
            except Exception as error:
                raise RunError(
                    f"{folder}: its checkpoint cannot be read ({first_line(error)}); remove the folder to start again"
                ) from None
            bar.advance(rows[-1]["epoch"] * batches.steps)
        elif self.start_competes:
            rows.append({"phase": self.name, "epoch": 0, **self.validate()})
            self._keep(best)
        top = max([self.floor, *(row["score"] for row in rows)])
        for epoch in range(rows[-1]["epoch"] if rows else 0, self.epochs):
            title = f"{self.name} {epoch + 1}/{self.epochs}"
            fitted = self.model.fit(
                batches.epoch(epoch),
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
                callbacks=[_Progress(bar, title)],
            )
            figures = {name: float(values[-1]) for name, values in fitted.history.items()}
            judged = self.validate()
            if not np.isfinite([*figures.values(), *judged.values()]).all():
                raise RunError(f"{title}: the training diverged, its loss is not a number; take a lower learning rate")
            row = {"phase": self.name, "epoch": epoch + 1, **figures, **judged}
            if judged["score"] > top:
                top = judged["score"]
                self._keep(best)
            rows.append(row)
            manager.save(checkpoint_number=epoch + 1)
            write_json(state_file, rows)
        return rows

    def _keep(self, best: Path) -> None:
        with replacing(best) as temporary:
            self.trained.save_weights(str(temporary), save_format="h5")


def cosine_decay(peak: float, steps: int, warmup_steps: int = 0) -> Any:
    """Learning rate: linear warm-up to `peak`, then half a cosine down to a hundredth of it."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 20 if warmup_steps else peak,
        decay_steps=max(1, steps - warmup_steps),
        alpha=0.01,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
