"""Xception for one grey channel, with or without ImageNet weights, and a three-layer classification head."""

from __future__ import annotations

from typing import Any

import numpy as np

from cxr_edge.artifacts.contract import IMAGE, PROBABILITIES
from cxr_edge.errors import WeightsError, first_line
from cxr_edge.runs.network import DOWNSAMPLING, FIRST, LAST, XCEPTION, Block, Network
from cxr_edge.train_options import IMAGENET
from cxr_edge.training.backend import keras
from cxr_edge.training.pointwise import SeparableConv2D

HEAD_UNITS = 128
DROPOUT = 0.3


def build_classifier(
    image_size: int,
    classes: int,
    network: Network = XCEPTION,
    bn_momentum: float = 0.99,
    dropout: keras.layers.Layer | None = None,
) -> keras.Model:
    """A network on grey images with normalisation in the graph and a classification head, randomly initialised.

    Input `image` is `[N, S, S, 1]` with grey values 0..255, output `probabilities` float32 `[N, classes]`.

    Args:
        image_size: S, at least 71.
        classes: number of labels.
        network: its blocks and their widths.
        bn_momentum: momentum of every batch norm's moving statistics; Keras's default 0.99 lags in trainings of few
            steps.
        dropout: dropout layer of the head; None for Keras's own.
    """
    image = keras.Input((image_size, image_size, 1), name=IMAGE)
    values = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalisation")(image)
    for block in network.blocks:
        values = _block(block, values, bn_momentum)
    features = keras.layers.GlobalAveragePooling2D(name="pooling")(values)
    hidden = keras.layers.Dense(HEAD_UNITS, activation="relu", name="hidden")(features)
    hidden = (dropout or keras.layers.Dropout(DROPOUT, name="dropout"))(hidden)
    # float32 whatever the precision policy: a half-precision softmax makes close classes tie.
    probabilities = keras.layers.Dense(classes, activation="softmax", name=PROBABILITIES, dtype="float32")(hidden)
    return keras.Model(image, probabilities, name="cxr_xception")


def _block(block: Block, values: Any, bn_momentum: float) -> Any:
    """Apply a block, with the layer order of `keras.applications.Xception`, which the official weights rely on."""
    layers = keras.layers

    def normalised(convolution: keras.layers.Layer, values: Any) -> Any:
        norm = layers.BatchNormalization(momentum=bn_momentum, name=batch_norm_of(convolution.name))
        return norm(convolution(values))

    def rectified(name: str, values: Any) -> Any:
        return layers.Activation("relu", name=f"{name}_act")(values)

    if block.number == FIRST:
        for index, (width, strides) in enumerate(zip(block.widths, (2, 1), strict=True)):
            name = block.convolution(index)
            full = layers.Conv2D(width, 3, strides=strides, use_bias=False, name=name)
            values = rectified(name, normalised(full, values))
        return values
    residual = values
    if block.number in DOWNSAMPLING:
        settings = {"strides": 2, "padding": "same", "use_bias": False, "name": block.residual_convolution}
        residual = normalised(layers.Conv2D(block.widths[-1], 1, **settings), values)
    for index, width in enumerate(block.widths):
        name = block.convolution(index)
        # The input of block 2 is already rectified; in block 14, activations follow the convolutions.
        if block.number != LAST and (block.number, index) != (2, 0):
            values = rectified(name, values)
        values = normalised(SeparableConv2D(width, 3, padding="same", use_bias=False, name=name), values)
        if block.number == LAST:
            values = rectified(name, values)
    if block.number == LAST:
        return values
    if block.number in DOWNSAMPLING:
        values = layers.MaxPooling2D(3, strides=2, padding="same", name=f"block{block.number}_pool")(values)
    return layers.Add(name=block.residual_sum)([values, residual])


def batch_norm_of(convolution: str) -> str:
    """The name of the batch norm after a convolution."""
    return f"{convolution}_bn"


def base_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of Xception proper, without the head."""
    last = next(index for index, layer in enumerate(model.layers) if layer.name == XCEPTION.blocks[-1].output)
    return list(model.layers[: last + 1])


def freeze_blocks(model: keras.Model, network: Network, last: int) -> None:
    """Freeze all layers up to a block, by its number in Xception: 0 for none, 14 for all but the head.

    Frozen layers keep their weights and the statistics of their batch norms. Call this before compiling the model.
    """
    outputs = {block.output for block in network.blocks if block.number <= last}
    layers = base_layers(model)
    frozen = 1 + max((index for index, layer in enumerate(layers) if layer.name in outputs), default=-1)
    for index, layer in enumerate(layers):
        layer.trainable = index >= frozen


def freeze_batch_norms(model: keras.Model) -> None:
    """Fix the batch norms to their moving statistics, so that training computes what inference will.

    Otherwise each batch is divided by its own spread, and an image on which the activations grow from block to block
    goes unnoticed. As FrozenBN for the last epochs in Wu and Johnson, "Rethinking 'Batch' in BatchNorm",
    arXiv:2105.07576. Compile the model afterwards.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def pretrained_xception(weights: str) -> keras.Model:
    """Xception for three channels, without a head, with weights from ImageNet or a file.

    Args:
        weights: `imagenet` for the official download, which Keras keeps, or an .h5 file in the official no-top format.

    Raises:
        WeightsError: the download failed, or the file does not fit.
    """
    if weights == IMAGENET:
        try:
            return keras.applications.Xception(include_top=False, weights="imagenet", input_shape=(150, 150, 3))
        except Exception as error:
            raise WeightsError(
                f"Xception's ImageNet weights cannot be downloaded ({first_line(error)}); pass the official "
                "no-top file with --weights FILE, or train from scratch with --weights none"
            ) from None
    model = keras.applications.Xception(include_top=False, weights=None, input_shape=(150, 150, 3))
    try:
        model.load_weights(weights)
    except Exception as error:
        raise WeightsError(
            f"{weights}: does not hold Xception's weights in the official no-top format ({first_line(error)})"
        ) from None
    return model


def load_pretrained(model: keras.Model, weights: str) -> None:
    """Set the base's weights from ImageNet's, the first convolution summed over its three input channels.

    For a grey image, whose three channels are equal, the sum computes exactly the same function.

    Args:
        model: from `build_classifier`.
        weights: as for `pretrained_xception`, with the same errors.
    """
    source = [layer for layer in pretrained_xception(weights).layers if layer.weights]
    target = [layer for layer in base_layers(model) if layer.weights]
    for ours, theirs in zip(target, source, strict=True):
        values = theirs.get_weights()
        if ours.name == "block1_conv1":
            values = [np.sum(values[0], axis=2, keepdims=True)]
        ours.set_weights(values)
