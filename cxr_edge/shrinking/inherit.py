"""A smaller network with the weights of the channels that it kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runs.network import IMAGE_CHANNELS, Kind, Network
from cxr_edge.shrinking.widths import Kept
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches
from cxr_edge.training.xception import batch_norm_of, build_classifier


def inherit(teacher: keras.Model, network: Network, kept: Kept, image_size: int) -> keras.Model:
    """A model of a pruned network with its teacher's weights.

    Args:
        teacher: trained.
        network: the pruned one.
        kept: the teacher's channels that stay, by group.
        image_size: pixels.
    """
    model = build_classifier(image_size, teacher.output_shape[-1], network, bn_momentum=0.0)
    channels = {IMAGE_CHANNELS: np.zeros(1, np.int64), **kept}
    for convolution in network.convolutions():
        reads, writes = channels[convolution.reads], channels[convolution.writes]
        kernels = teacher.get_layer(convolution.name).get_weights()
        if convolution.kind is Kind.SEPARABLE:
            depthwise, pointwise = kernels
            inherited = [depthwise[:, :, reads], _kernel(pointwise, reads, writes)]
        else:
            inherited = [_kernel(kernels[0], reads, writes)]
        model.get_layer(convolution.name).set_weights(inherited)
        norm = batch_norm_of(convolution.name)
        model.get_layer(norm).set_weights([values[writes] for values in teacher.get_layer(norm).get_weights()])
    features = channels[list(network.convolutions())[-1].writes]
    hidden, *others = (layer for layer in teacher.layers if isinstance(layer, keras.layers.Dense))
    kernel, bias = hidden.get_weights()
    model.get_layer(hidden.name).set_weights([kernel[features], bias])
    for layer in others:
        model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def _kernel(kernel: NDArray[np.float32], reads: NDArray[np.int64], writes: NDArray[np.int64]) -> NDArray[np.float32]:
    return kernel[:, :, reads][..., writes]


def recompute_statistics(model: keras.Model, batches: Batches, steps: int) -> None:
    """Recompute the batch norms' statistics over all of some training images: removing channels changes them.

    As PreciseBN in Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv:2105.07576.

    Args:
        model: from `inherit`, whose batch norms keep the statistics of the last batch.
        batches: of the size of the teacher's input.
        steps: number of batches.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]

    @tf.function  # type: ignore[untyped-decorator]
    def statistics_of(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        model(tf.image.resize(images, model.input_shape[1:3], antialias=True), training=True)
        return [(norm.moving_mean.read_value(), norm.moving_variance.read_value()) for norm in norms]

    with batches.explained():
        statistics = [statistics_of(images) for images, _ in batches.epoch(0).take(steps)]
    for norm, of_batches in zip(norms, zip(*statistics, strict=True), strict=True):
        means, variances = (np.array(values) for values in zip(*of_batches, strict=True))
        norm.moving_mean.assign(means.mean(axis=0))
        norm.moving_variance.assign(variances.mean(axis=0) + means.var(axis=0))
