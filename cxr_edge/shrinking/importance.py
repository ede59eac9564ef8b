"""How much a trained network needs each of its middle blocks and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runs.network import Network
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches
from cxr_edge.training.xception import batch_norm_of

#: Scores by group of channels, float64 `[C]` each.
Importance = Mapping[str, NDArray[np.float64]]


@contextmanager
def skipped(model: keras.Model, network: Network, number: int) -> Iterator[None]:
    """Skip a middle block while the body runs: the batch norm before its sum outputs 0."""
    (block,) = (block for block in network.blocks if block.number == number)
    norm = model.get_layer(batch_norm_of(block.convolution(len(block.widths) - 1)))
    before = norm.get_weights()
    norm.set_weights([np.zeros_like(before[0]), np.zeros_like(before[1]), *before[2:]])
    try:
        yield
    finally:
        norm.set_weights(before)


def channel_importance(
    model: keras.Model, network: Network, batches: Batches, steps: int, on_step: Callable[[], None]
) -> Importance:
    """First-order estimates, from batch norms, of the squared change in loss when a channel is removed.

    A channel's gate is the factor and the offset of its batch norm; the estimate is the square of the sum of each times
    its gradient, averaged over batches (Molchanov et al., "Importance Estimation for Neural Network Pruning", 2019).
    If several convolutions write to a group, their estimates are added.

    Args:
        model: trained.
        network: the model's.
        batches: labelled training images.
        steps: number of batches.
        on_step: called after each.
    """
    convolutions = list(network.convolutions())
    norms = [model.get_layer(batch_norm_of(convolution.name)) for convolution in convolutions]
    gates = [(norm.gamma, norm.beta) for norm in norms]
    # Smoothed labels, as in training: with plain ones, a model that is always right has hardly any gradient.
    loss_of = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)

    @tf.function  # type: ignore[untyped-decorator]
    def estimates(images: tf.Tensor, targets: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = loss_of(targets, model(images, training=False))
        gradients = tape.gradient(loss, gates)
        return [
            tf.square(factor * by_factor + offset * by_offset)
            for (factor, offset), (by_factor, by_offset) in zip(gates, gradients, strict=True)
        ]

    scores = {group: np.zeros(width) for group, width in network.widths().items()}
    with batches.explained():
        for images, targets in batches.epoch(0).take(steps):
            for convolution, estimate in zip(convolutions, estimates(images, targets), strict=True):
                scores[convolution.writes] += estimate.numpy().astype(np.float64) / steps
            on_step()
    return scores


def ranked(numbers: Sequence[int], sensitivity: Mapping[int, float]) -> list[int]:
    """Blocks in order of sensitivity, the least sensitive first."""
    return sorted(numbers, key=lambda number: sensitivity[number])
