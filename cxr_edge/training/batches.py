"""Shuffled, augmented and class-balanced batches of training images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.data.store import DecodedImages
from cxr_edge.errors import CacheError
from cxr_edge.processors import usable_cores
from cxr_edge.train_options import FROM_SCRATCH, TrainOptions
from cxr_edge.training.augment import MILD, Augmentation, augment, augmentation_draws
from cxr_edge.training.backend import tf


@dataclass(frozen=True)
class Share:
    """A worker's share of each batch: `parts` of `of` equal parts, starting at `first`, one for each replica."""

    first: int = 0
    parts: int = 1
    of: int = 1


WHOLE = Share()


@dataclass(frozen=True)
class Batches:
    """Training images, uint8 `[N, S, S, 1]`, with their label indices, int64 `[N]`: -1 where there is none."""

    images: NDArray[np.uint8] | DecodedImages
    labels: NDArray[np.int64]
    classes: int
    batch_size: int
    seed: int
    augmentation: Augmentation = MILD
    _failures: list[CacheError] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def steps(self) -> int:
        # The incomplete last batch is dropped: batches of one or two harm batch norm.
        return max(1, len(self.images) // self.batch_size)

    @property
    def size(self) -> int:
        """Number of images in a batch."""
        return min(self.batch_size, len(self.images))

    def epoch(self, number: int, share: Share = WHOLE) -> Any:
        """The batches of an epoch, which depend only on the seed and the number, resumed or not.

        Images of a rare class come several times per epoch, each time augmented differently; some of a frequent class
        wait for a later epoch. Images without a label come once.

        Args:
            number: from 0.
            share: the parts of each batch to return, one after another.

        Returns:
            A TensorFlow data set of images, float32 `[B, S, S, 1]`, and one-hot labels, float32 `[B, K]`: all 0 for
            unlabelled images. Iterate over it within `explained`.
        """
        order = _balanced(self.labels, np.random.default_rng([self.seed, number]))
        batches = order[: self.steps * self.size].reshape(self.steps, self.size)
        # Images are read in the order of the disk; within a batch their order has no meaning.
        batches.sort(axis=1)

        def gather(step: Any, part: Any) -> tuple[Any, Any]:
            rows = batches[step][part :: share.of]
            try:
                return self.images[rows], self.labels[rows]
            except CacheError as error:
                self._failures.append(error)
                raise

        def prepare(index: Any) -> tuple[Any, Any]:
            step, part = index // share.parts, share.first + index % share.parts
            images, labels = tf.numpy_function(gather, [step, part], [tf.uint8, tf.int64])
            images.set_shape([self.size // share.of, *self.images.shape[1:]])
            labels.set_shape([self.size // share.of])
            seed = tf.stack([tf.cast(self.seed, tf.int32), tf.cast(number * 1_000_003 + step, tf.int32)])
            # Drawn for the whole batch, so that an image is augmented the same on any worker.
            draws = augmentation_draws(seed, self.size, self.images.shape[1]).share(part, share.of)
            images = augment(tf.cast(images, tf.float32), draws, self.augmentation)
            return images, tf.one_hot(labels, self.classes)

        # One core prepares 200 images of 299 px per second, mildly augmented 450; a GPU may need several. The
        # order is preserved.
        elements = tf.data.Dataset.range(self.steps * share.parts)
        return elements.map(prepare, num_parallel_calls=usable_cores()).prefetch(4).with_options(_options())

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise the CacheError that ended an epoch within the body, in place of TensorFlow's error that hides it."""
        try:
            yield
        except tf.errors.OpError:
            if self._failures:
                raise self._failures[0] from None
            raise


def _options() -> Any:
    """Options without autotuning: many epochs waited 1 to 7 s at their end for its sleeping thread."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _balanced(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """As many indices as there are labels, shuffled: all those without a label, and the classes in equal parts.

    All images of a class are used before one is repeated.
    """
    classes = np.unique(labels[labels >= 0])
    share = -(-np.count_nonzero(labels >= 0) // max(1, len(classes)))
    rows = [np.flatnonzero(labels < 0)]
    for label in classes:
        members = np.flatnonzero(labels == label)
        rounds = -(-share // len(members))
        rows.append(np.concatenate([random.permutation(members) for _ in range(rounds)])[:share])
    return random.permutation(np.concatenate(rows))[: len(labels)]


def augmentation_of(options: TrainOptions) -> Augmentation:
    """The augmentation of a run: mild from scratch, where a few hundred steps learn nothing from more varied images."""
    return MILD if options.weights == FROM_SCRATCH else Augmentation()


def training_batches(
    split: Split, image_size: int, batch_size: int, seed: int, augmentation: Augmentation = MILD
) -> Batches:
    """The training part of a split."""
    return Batches(
        images=decoded(split, "train", image_size),
        labels=split.targets("train"),
        classes=len(split.labels),
        batch_size=batch_size,
        seed=seed,
        augmentation=augmentation,
    )
