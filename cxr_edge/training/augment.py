"""Augmentation suitable for chest X-rays: small changes of rotation, shift, zoom, exposure and contrast. No flip: the
heart has a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_edge.training.backend import tf


@dataclass(frozen=True)
class Augmentation:
    """Maximum magnitudes; each image draws uniformly within them."""

    rotation_degrees: float = 8.0
    shift: float = 0.06
    zoom: float = 0.10
    exposure: float = 0.12
    contrast: float = 0.20


def augmentation_draws(seed: Any, count: int) -> Any:
    """Random numbers for `augment`, float32 `[7, count]` from -1 to 1; the same seed, int32 `[2]`, gives the same."""
    return tf.random.stateless_uniform([7, count], seed, -1.0, 1.0)


def augment(images: Any, draws: Any, amount: Augmentation) -> Any:
    """Augment a batch.

    Args:
        images: float32 `[N, S, S, 1]`, grey values 0..255.
        draws: float32 `[7, N]`, from `augmentation_draws`.
        amount: the maximum magnitudes.

    Returns:
        float32 `[N, S, S, 1]`, clipped to 0..255.
    """
    size = tf.cast(tf.shape(images)[1], tf.float32)
    angle = draws[0] * (amount.rotation_degrees * np.pi / 180)
    scale_x, scale_y = 1 + draws[1] * amount.zoom, 1 + draws[2] * amount.zoom
    shift_x, shift_y = draws[3] * amount.shift * size, draws[4] * amount.shift * size
    # ImageProjectiveTransform maps output to input points: rotate and scale about the centre, then shift.
    centre = (size - 1) / 2
    a, b = scale_x * tf.cos(angle), -scale_y * tf.sin(angle)
    c, d = scale_x * tf.sin(angle), scale_y * tf.cos(angle)
    offset_x = centre - a * centre - b * centre + shift_x
    offset_y = centre - c * centre - d * centre + shift_y
    zero = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, offset_x, c, d, offset_y, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    gain = (1 + draws[5] * amount.contrast)[:, None, None, None]
    bias = (draws[6] * amount.exposure * 127.5)[:, None, None, None]
    mean = tf.reduce_mean(moved, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value((moved - mean) * gain + mean + bias, 0.0, 255.0)
