"""Augmentation for chest X-rays: the differences between patients, devices and archives.

Position, exposure, the display curve, sharpness, noise, JPEG and borders. No flip: the heart has a side. Without the
last four, a network that reads 98 % of its test images correctly may read 10 % with a little noise added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr_edge.training.backend import tf

#: Uniform numbers that `augment` uses per image.
_NUMBERS = 19


@dataclass(frozen=True)
class Augmentation:
    """Maximum magnitudes; each image draws uniformly within them."""

    rotation_degrees: float = 8.0
    #: Shares of the image's side.
    shift: float = 0.06
    zoom: float = 0.10
    exposure: float = 0.12
    contrast: float = 0.20
    #: Exponent of the display curve; its inverse is the minimum.
    gamma: float = 1.7
    #: How far an S bends the display curve; below 1 it stays monotonic.
    bend: float = 0.6
    #: How far an image moves towards its Gaussian blur, or away from it, and the blur's deviation (share of the side).
    blur: float = 1.0
    sharpen: float = 0.7
    blur_deviation: float = 0.008
    #: Deviation of normal noise in grey values, in half of the images.
    noise: float = 12.0
    #: Share of the images that make a JPEG round trip, and its qualities.
    jpeg: float = 1 / 3
    jpeg_quality: tuple[int, int] = (20, 90)
    #: Maximum width, as a share of the side, of a frame of one grey value, often black, around half of the images.
    frame: float = 0.13


#: Only position, exposure and contrast: a short training run from scratch cannot learn to ignore more.
MILD = Augmentation(gamma=1.0, bend=0.0, blur=0.0, sharpen=0.0, noise=0.0, jpeg=0.0, frame=0.0)


@dataclass(frozen=True)
class Draws:
    """Random numbers for `augment`: float32 `[19, N]` from -1 to 1, and standard normal noise `[N, S, S, 1]`."""

    uniform: Any
    noise: Any

    def share(self, part: Any, of: int) -> Draws:
        """The draws of every `of`-th image, starting with number `part`."""
        return Draws(self.uniform[:, part::of], self.noise[part::of])


def augmentation_draws(seed: Any, count: int, size: int) -> Draws:
    """Random numbers for `count` images of `size` pixels; the same seed, int32 `[2]`, gives the same."""
    return Draws(
        tf.random.stateless_uniform([_NUMBERS, count], seed, -1.0, 1.0),
        tf.random.stateless_normal([count, size, size, 1], seed),
    )


def augment(images: Any, draws: Draws, amount: Augmentation) -> Any:
    """Augment a batch.

    Args:
        images: float32 `[N, S, S, 1]`, grey values 0..255.
        draws: from `augmentation_draws`, for N images of S pixels.
        amount: the maximum magnitudes.

    Returns:
        float32 `[N, S, S, 1]`, clipped to 0..255.
    """
    numbers = draws.uniform
    images = _exposed(_moved(images, numbers[:5], amount), numbers[5:9], amount)
    if amount.blur or amount.sharpen:
        images = _blurred(images, numbers[9], amount)
    if amount.noise:
        images = images + draws.noise * _per_image(tf.maximum(numbers[10], 0.0) * amount.noise)
    images = tf.clip_by_value(images, 0.0, 255.0)
    if amount.jpeg:
        images = _compressed(images, numbers[11:13], amount)
    return _framed(images, numbers[13:], amount) if amount.frame else images


def _per_image(values: Any) -> Any:
    return values[:, None, None, None]


def _moved(images: Any, numbers: Any, amount: Augmentation) -> Any:
    """Rotated, scaled about the centre and shifted; the borders are repeated."""
    size = tf.cast(tf.shape(images)[1], tf.float32)
    angle = numbers[0] * (amount.rotation_degrees * np.pi / 180)
    scale_x, scale_y = 1 + numbers[1] * amount.zoom, 1 + numbers[2] * amount.zoom
    shift_x, shift_y = numbers[3] * amount.shift * size, numbers[4] * amount.shift * size
    # ImageProjectiveTransform maps output to input points: rotate and scale about the centre, then shift.
    centre = (size - 1) / 2
    a, b = scale_x * tf.cos(angle), -scale_y * tf.sin(angle)
    c, d = scale_x * tf.sin(angle), scale_y * tf.cos(angle)
    offset_x = centre - a * centre - b * centre + shift_x
    offset_y = centre - c * centre - d * centre + shift_y
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, offset_x, c, d, offset_y, zero, zero], axis=1),
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def _exposed(images: Any, numbers: Any, amount: Augmentation) -> Any:
    """Contrast and exposure, then a display curve: a power, and a sine that bends it to an S or the inverse of it."""
    gain = _per_image(1 + numbers[0] * amount.contrast)
    bias = _per_image(numbers[1] * amount.exposure * 127.5)
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    grey = tf.clip_by_value((images - mean) * gain + mean + bias, 0.0, 255.0) / 255
    grey = tf.pow(grey, _per_image(tf.exp(numbers[2] * math.log(amount.gamma))))
    turn = 2 * np.pi
    return 255 * (grey + _per_image(numbers[3] * amount.bend) * tf.sin(turn * grey) / turn)


def _blurred(images: Any, number: Any, amount: Augmentation) -> Any:
    """Each image moved towards its Gaussian blur, or away from it, which sharpens."""
    size = images.shape[1]
    deviation = amount.blur_deviation * size
    radius = math.ceil(2.5 * deviation)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    padded = tf.pad(images, [[0, 0], [radius, radius], [radius, radius], [0, 0]], mode="REFLECT")
    rows = tf.nn.conv2d(padded, kernel[:, None, None, None], 1, "VALID")
    blurred = tf.nn.conv2d(rows, kernel[None, :, None, None], 1, "VALID")
    share = _per_image(number * tf.where(number > 0, float(amount.blur), float(amount.sharpen)))
    return images + share * (blurred - images)


def _compressed(images: Any, numbers: Any, amount: Augmentation) -> Any:
    """A JPEG round trip of a share of the images."""
    low, high = amount.jpeg_quality
    quality = tf.cast(tf.round(low + (high - low) * (numbers[0] + 1) / 2), tf.int32)

    def compressed(image: Any, quality: Any) -> Any:
        return tf.cast(tf.image.adjust_jpeg_quality(tf.cast(tf.round(image), tf.uint8), quality), tf.float32)

    def changed(values: tuple[Any, Any, Any]) -> Any:
        image, quality, selected = values
        return tf.cond(selected, lambda: compressed(image, quality), lambda: image)

    output = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(changed, (images, quality, numbers[1] > 1 - 2 * amount.jpeg), fn_output_signature=output)


def _framed(images: Any, numbers: Any, amount: Augmentation) -> Any:
    """A frame of one grey value around half of the images; its width, which may be 0, differs from side to side."""
    size = images.shape[1]
    place = ((tf.range(size, dtype=tf.float32) + 0.5) / size)[None, :]
    covered = tf.cast(numbers[0] > 0, tf.float32) * amount.frame
    top, bottom, left, right = (covered * tf.maximum(numbers[side], 0.0) for side in range(1, 5))
    rows = (place > top[:, None]) & (place < 1 - bottom[:, None])
    columns = (place > left[:, None]) & (place < 1 - right[:, None])
    inside = rows[:, :, None, None] & columns[:, None, :, None]
    return tf.where(inside, images, _per_image(tf.maximum(numbers[5], 0.0) * 255))
