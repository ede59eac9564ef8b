"""Training images in shuffled, augmented batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.data.store import DecodedImages
from cxr_edge.processors import usable_cores
from cxr_edge.training.augment import Augmentation, augment, augmentation_draws
from cxr_edge.training.backend import tf


@dataclass(frozen=True)
class Share:
    """What a worker gets of each batch: `parts` of its `of` equal parts, from `first` on, one for each replica."""

    first: int = 0
    parts: int = 1
    of: int = 1


WHOLE = Share()


@dataclass(frozen=True)
class Batches:
    """Training images with their targets.

    `images` is uint8 `[N, S, S, 1]`, `targets` float32 `[N, ...]` (one-hot labels), `weights` float32 `[N]`.
    """

    images: NDArray[np.uint8] | DecodedImages
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        # The incomplete last batch is dropped: batches of one or two harm batch norm.
        return max(1, len(self.images) // self.batch_size)

    @property
    def size(self) -> int:
        """Images of a batch."""
        return min(self.batch_size, len(self.images))

    def epoch(self, number: int, share: Share = WHOLE) -> Any:
        """The shuffled, augmented batches of an epoch, which depend only on the seed and the number, resumed or not.

        Args:
            number: from 0.
            share: what of each batch is wanted; its parts follow each other.
        """
        order = np.random.default_rng([self.seed, number]).permutation(len(self.images))
        batches = order[: self.steps * self.size].reshape(self.steps, self.size)
        # Images are read in the order of the disk; within a batch their order has no meaning.
        batches.sort(axis=1)

        def gather(step: Any, part: Any) -> tuple[Any, Any, Any]:
            rows = batches[step][part :: share.of]
            return self.images[rows], self.targets[rows], self.weights[rows]

        def prepare(index: Any) -> tuple[Any, Any, Any]:
            step, part = index // share.parts, share.first + index % share.parts
            types = [tf.uint8, tf.float32, tf.float32]
            images, targets, weights = tf.numpy_function(gather, [step, part], types)
            images.set_shape([self.size // share.of, *self.images.shape[1:]])
            targets.set_shape([self.size // share.of, *self.targets.shape[1:]])
            weights.set_shape([self.size // share.of])
            seed = tf.stack([tf.cast(self.seed, tf.int32), tf.cast(number * 1_000_003 + step, tf.int32)])
            # Drawn for the whole batch: an image is augmented alike whoever gets it.
            draws = augmentation_draws(seed, self.size)[:, part :: share.of]
            return augment(tf.cast(images, tf.float32), draws, Augmentation()), targets, weights

        # One core prepares 600 images of 299 px per second, two 1300; a GPU may need more. The order is preserved.
        elements = tf.data.Dataset.range(self.steps * share.parts)
        return elements.map(prepare, num_parallel_calls=usable_cores()).prefetch(4).with_options(_options())


def _options() -> Any:
    """Without autotuning, whose thread many an epoch waited for at its end, asleep for 1 to 7 s."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """float32 `[K]`: inverse class frequency, mean weight 1 over the images."""
    counts = np.bincount(targets, minlength=classes)
    weights: NDArray[np.float32] = (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)
    return weights


def training_batches(split: Split, image_size: int, batch_size: int, seed: int) -> Batches:
    """The training part of a split as one-hot targets weighted by class."""
    targets = split.targets("train")
    classes = len(split.labels)
    return Batches(
        images=decoded(split, "train", image_size),
        targets=np.eye(classes, dtype=np.float32)[targets],
        weights=class_weights(targets, classes)[targets],
        batch_size=batch_size,
        seed=seed,
    )
