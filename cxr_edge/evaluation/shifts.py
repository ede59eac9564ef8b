"""A documented, seeded suite of shifts: how X-rays from a device that nobody tuned on may differ.

They work on the network's input, uint8 `[N, S, S, 1]`, so they need no files, and give the same pixels on every
machine: integers and tables throughout, randomness from the raw bits of PCG64, whose stream NumPy promises to keep, and
Pillow's blur and JPEG, which compute in integers. `tests/test_shifts.py` holds their hashes. The strengths are chosen
to be visible without changing a radiologist's answer.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

#: Version of the suite: changing any pixel makes a new version.
VERSION = 1
_HALF = 16
_ONE = 1 << _HALF
#: Mean and standard deviation of the sum of eight random bytes.
_BYTES_MEAN, _BYTES_DEVIATION = 8 * 255 / 2, math.sqrt(8 * (256**2 - 1) / 12)

Picture = NDArray[np.uint8]


class ShiftKind(StrEnum):
    """What a shift does; its parameters set the strength."""

    GAMMA = "gamma"
    NOISE = "noise"
    BLUR = "blur"
    JPEG = "jpeg"
    SCALE = "scale"
    ROTATE = "rotate"
    WINDOW = "window"


@dataclass(frozen=True)
class Shift:
    """One shift of the suite; `parameters` are those of its kind, described at this module's functions."""

    name: str
    kind: ShiftKind
    parameters: Mapping[str, float]

    def apply(self, images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
        """Shifted copies of uint8 `[N, S, S, 1]`.

        Randomness is drawn from the seed and the image's pixels, so an image's copy does not depend on its batch.
        """
        change = _CHANGES[self.kind]
        shifted = np.empty_like(images)
        for index, picture in enumerate(images[..., 0]):
            shifted[index, :, :, 0] = change(np.ascontiguousarray(picture), seed, **self.parameters)
        return shifted


def _gamma(picture: Picture, _: int, exponent: float) -> Picture:
    """Grey values raised to a power, as by another exposure or display curve: above 1 is darker, below 1 brighter."""
    table = [round(255 * math.pow(value / 255, exponent)) for value in range(256)]
    return np.array(table, np.uint8)[picture]


def _window(picture: Picture, _: int, black: float, white: float) -> Picture:
    """Another window: `black` and `white` are the grey values that become 0 and 255; swapped, they give a negative."""
    table = [round(min(255.0, max(0.0, 255 * (value - black) / (white - black)))) for value in range(256)]
    return np.array(table, np.uint8)[picture]


def _noise(picture: Picture, seed: int, deviation: float) -> Picture:
    """Nearly normal detector noise with a `deviation` in grey values: the sum of eight random bytes per pixel."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, zlib.crc32(picture.tobytes()))))
    raw = np.atleast_1d(bits.random_raw(picture.size)).view(np.uint8).reshape(*picture.shape, 8)
    grain = (raw.sum(axis=-1, dtype=np.int64) - _BYTES_MEAN) * (deviation / _BYTES_DEVIATION)
    return np.asarray(np.clip(np.rint(picture + grain), 0, 255), dtype=np.uint8)


def _blur(picture: Picture, _: int, radius: float) -> Picture:
    """A Gaussian blur, as from a soft focus or a moving patient; `radius` is its deviation as a share of the side."""
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius * len(picture))))


def _jpeg(picture: Picture, _: int, quality: float) -> Picture:
    """A JPEG round trip at a `quality` from 1 to 95."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=int(quality))
    return np.asarray(Image.open(content, formats=["JPEG"]))


def _scale(picture: Picture, _: int, factor: float) -> Picture:
    """Scaled about its centre by a `factor`: above 1 crops the borders, below 1 adds black ones."""
    return _sampled(picture, round(_ONE / factor), 0)


def _rotate(picture: Picture, _: int, degrees: float) -> Picture:
    """Rotated clockwise about its centre; the corners become black."""
    angle = math.radians(degrees)
    return _sampled(picture, round(_ONE * math.cos(angle)), round(_ONE * math.sin(angle)))


def _sampled(picture: Picture, cosine: int, sine: int) -> Picture:
    """Bilinear sampling in integers; `[cosine, sine; -sine, cosine] / 65536` maps each pixel to its source."""
    size = len(picture)
    centred = 2 * np.arange(size) + 1 - size
    row, column = centred[:, None], centred[None, :]
    framed = np.pad(picture.astype(np.int64), (1, 2))
    places = []
    for place in (cosine * row - sine * column, cosine * column + sine * row):
        # Clamped to the black frame, in 65536ths of a pixel.
        inside = np.clip(((place + (size - 1) * _ONE) >> 1) + _ONE, 0, (size + 1) * _ONE)
        places += [inside >> _HALF, (inside >> (_HALF - 8)) & 255]
    top, down, left, right = places
    upper = framed[top, left] * (256 - right) + framed[top, left + 1] * right
    lower = framed[top + 1, left] * (256 - right) + framed[top + 1, left + 1] * right
    return np.asarray((upper * (256 - down) + lower * down + _ONE // 2) >> _HALF, dtype=np.uint8)


_CHANGES: Mapping[ShiftKind, Callable[..., Any]] = {
    ShiftKind.GAMMA: _gamma,
    ShiftKind.NOISE: _noise,
    ShiftKind.BLUR: _blur,
    ShiftKind.JPEG: _jpeg,
    ShiftKind.SCALE: _scale,
    ShiftKind.ROTATE: _rotate,
    ShiftKind.WINDOW: _window,
}

SUITE = (
    Shift("darker", ShiftKind.GAMMA, {"exponent": 1.5}),
    Shift("brighter", ShiftKind.GAMMA, {"exponent": 0.65}),
    Shift("noise", ShiftKind.NOISE, {"deviation": 10}),
    Shift("blur", ShiftKind.BLUR, {"radius": 0.008}),
    Shift("jpeg", ShiftKind.JPEG, {"quality": 20}),
    Shift("crop", ShiftKind.SCALE, {"factor": 1.15}),
    Shift("border", ShiftKind.SCALE, {"factor": 0.87}),
    Shift("rotation", ShiftKind.ROTATE, {"degrees": 7}),
    Shift("inverted", ShiftKind.WINDOW, {"black": 255, "white": 0}),
    Shift("hard window", ShiftKind.WINDOW, {"black": 45, "white": 210}),
    Shift("flat window", ShiftKind.WINDOW, {"black": -60, "white": 320}),
)
