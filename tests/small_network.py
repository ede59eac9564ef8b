"""Xception in small: training, fine-tuning and export in seconds, on a network of the same kinds of layers."""

from __future__ import annotations

from typing import Any

import pytest

from cxr_edge.training.backend import keras
from cxr_edge.training.xception import BASE_OUTPUT, DROPOUT


def build_small(image_size: int, classes: int, bn_momentum: float = 0.99, dropout: Any = None) -> Any:
    """In place of `build_classifier`, with 16 channels at most."""
    layers = keras.layers
    image = keras.Input((image_size, image_size, 1), name="image")
    values = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalisation")(image)
    values = layers.Conv2D(8, 3, strides=2, use_bias=False, name="block1_conv1")(values)
    values = layers.BatchNormalization(momentum=bn_momentum, name="block1_conv1_bn")(values)
    values = layers.Activation("relu", name="block1_conv1_act")(values)
    shortcut = layers.Conv2D(16, 1, strides=2, padding="same", use_bias=False)(values)
    shortcut = layers.BatchNormalization(momentum=bn_momentum)(shortcut)
    values = layers.SeparableConv2D(16, 3, padding="same", use_bias=False, name="block2_sepconv1")(values)
    values = layers.BatchNormalization(momentum=bn_momentum, name="block2_sepconv1_bn")(values)
    values = layers.MaxPooling2D(3, strides=2, padding="same", name="block2_pool")(values)
    values = layers.add([values, shortcut])
    values = layers.SeparableConv2D(16, 3, strides=2, padding="same", use_bias=False, name="block14_sepconv2")(values)
    values = layers.BatchNormalization(momentum=bn_momentum, name="block14_sepconv2_bn")(values)
    values = layers.Activation("relu", name=BASE_OUTPUT)(values)
    values = layers.GlobalAveragePooling2D(name="pooling")(values)
    values = layers.Dense(16, activation="relu", name="hidden")(values)
    values = (dropout or layers.Dropout(DROPOUT, name="dropout"))(values)
    values = layers.Dense(classes, activation="softmax", name="probabilities", dtype="float32")(values)
    return keras.Model(image, values, name="small")


def use_small_network(patch: pytest.MonkeyPatch) -> None:
    for module in ("cxr_edge.training.train", "cxr_edge.training.classifier"):
        patch.setattr(f"{module}.build_classifier", build_small)
