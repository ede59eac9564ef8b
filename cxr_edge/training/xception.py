"""Xception for one grey channel, with or without ImageNet weights, and a three-layer classification head."""

from __future__ import annotations

import numpy as np

from cxr_edge.artifacts.contract import IMAGE, PROBABILITIES
from cxr_edge.errors import WeightsError, first_line
from cxr_edge.train_options import IMAGENET
from cxr_edge.training.backend import keras

HEAD_UNITS = 128
DROPOUT = 0.3
#: Name of the last layer of Xception proper; the head comes after it.
BASE_OUTPUT = "block14_sepconv2_act"


def build_classifier(
    image_size: int, classes: int, bn_momentum: float = 0.99, dropout: keras.layers.Layer | None = None
) -> keras.Model:
    """Xception on grey images with normalisation in the graph, randomly initialised.

    Input `image` is `[N, S, S, 1]` with grey values 0..255, output `probabilities` float32 `[N, classes]`.

    Args:
        image_size: S, at least 71.
        classes: number of labels.
        bn_momentum: momentum of every batch norm's moving statistics; Keras's default 0.99 lags in trainings of few
            steps.
        dropout: dropout layer of the head; None for Keras's own.
    """
    image = keras.Input((image_size, image_size, 1), name=IMAGE)
    grey = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="normalisation")(image)
    base = keras.applications.Xception(include_top=False, weights=None, input_tensor=grey)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = bn_momentum
    features = keras.layers.GlobalAveragePooling2D(name="pooling")(base.output)
    hidden = keras.layers.Dense(HEAD_UNITS, activation="relu", name="hidden")(features)
    hidden = (dropout or keras.layers.Dropout(DROPOUT, name="dropout"))(hidden)
    # float32 whatever the precision policy: a half-precision softmax makes close classes tie.
    probabilities = keras.layers.Dense(classes, activation="softmax", name=PROBABILITIES, dtype="float32")(hidden)
    return keras.Model(image, probabilities, name="cxr_xception")


def base_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers of Xception proper, without the head."""
    last = next(index for index, layer in enumerate(model.layers) if layer.name == BASE_OUTPUT)
    return list(model.layers[: last + 1])


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
