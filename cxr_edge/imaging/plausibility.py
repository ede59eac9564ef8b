"""Whether a picture can be a chest X-ray at all: the one rule by which answers are refused or come with a warning.

A classifier of three classes has an answer for anything. This rule knows no anatomy: it goes by what a picture is made
of and by its tags, and lets a grey picture of something else pass. Training does not go by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import Picture, open_picture
from cxr_edge.imaging.dicom import dicom_facts, is_dicom, other_modality, warnings_about
from cxr_edge.imaging.reading import read_bytes

#: Grey values between the first and the last percent of the pixels, at least. Of 3,354 chest X-rays of six sources, the
#: flattest has 59.
MIN_RANGE = 32
#: The longer side over the shorter one: above the first a picture is doubted (the same X-rays have 1.35 at most), above
#: the second refused.
DOUBTED_ASPECT, MAX_ASPECT = 1.75, 3.0
#: Share of the pixels that are black or white, to which a picture is not doubted; these X-rays have 0.26 in 99 of 100.
MAX_SATURATED = 0.6
#: Grey values that count as black, and as white.
_BLACK, _WHITE = 2, 253
#: A pixel is coloured where its channels are this far apart; a picture, where more than this share of its pixels is.
_COLOURED, _COLOURED_SHARE = 32, 0.1
#: A film that was tinted, or photographed, has one colour for each grey. In a picture of many colours, more than this
#: share of the pixels is this far from the usual colour of its grey: 1 % in a violet film, 15 % or more in photographs.
_OFF_COLOUR, _OFF_COLOUR_SHARE = 24, 0.08


@dataclass(frozen=True)
class Examined:
    """A picture that may be a chest X-ray, grey, at its own size; what speaks against it, one line each; and of a DICOM
    file its `dicom_facts`."""

    grey: Image.Image
    warnings: tuple[str, ...] = ()
    dicom: Mapping[str, str | None] | None = None


def open_plausible(path: Path) -> Examined:
    """Decode and examine an image file.

    Raises:
        ImageError: it cannot be decoded, or cannot be a chest X-ray.
        MissingDependencyError: what reads the file's format is not installed.
    """
    content = read_bytes(path)
    examined = examine(path, open_picture(path, content))
    if not is_dicom(BytesIO(content)):
        return examined
    facts = dicom_facts(path, content)
    if other := other_modality(facts):
        raise ImageError(f"{path}: refused, {other}")
    return Examined(examined.grey, (*warnings_about(facts), *examined.warnings), facts)


def examine(name: Path | str, picture: Picture) -> Examined:
    """Go by the pixels alone; `name` is for messages. Raises ImageError for what cannot be a chest X-ray."""
    width, height = picture.grey.size
    aspect = max(width, height) / min(width, height)
    if aspect > MAX_ASPECT:
        raise ImageError(f"{name}: refused, {width} x {height} pixels are not the shape of a chest X-ray")
    shares = np.array(picture.grey.histogram()) / (width * height)
    low, high = np.searchsorted(np.cumsum(shares), [0.01, 0.99])
    if high - low < MIN_RANGE:
        raise ImageError(f"{name}: refused, all of it is about one grey (from {low} to {high} of 255)")
    warnings = []
    if aspect > DOUBTED_ASPECT:
        warnings.append(f"an unusual shape for a chest X-ray (one side is {aspect:.1f} times the other)")
    saturated = float(shares[: _BLACK + 1].sum() + shares[_WHITE:].sum())
    if saturated > MAX_SATURATED:
        warnings.append(f"mostly black and white ({100 * saturated:.0f} % of the pixels): over- or underexposed")
    if picture.colours is not None and _is_coloured(picture.colours):
        if _has_many_colours(picture.colours):
            raise ImageError(f"{name}: refused, a picture of many colours; an X-ray is grey")
        warnings.append("in colour, though an X-ray is grey: a photograph of a film?")
    return Examined(picture.grey, tuple(warnings))


def _is_coloured(colours: NDArray[np.uint8]) -> bool:
    channels = colours.astype(np.int16)
    return bool((np.ptp(channels, axis=1) > _COLOURED).mean() > _COLOURED_SHARE)


def _has_many_colours(colours: NDArray[np.uint8]) -> bool:
    """Whether pixels `[M, 3]` that are about as bright as each other differ in colour."""
    channels = colours.astype(np.int16)
    red, green, blue = channels.T
    order = np.argsort(channels @ np.array([0.299, 0.587, 0.114]), kind="stable")
    tints = np.stack([red - green, blue - green], axis=1)[order]
    off = [np.abs(alike - np.median(alike, axis=0)).max(axis=1) for alike in np.array_split(tints, 16)]
    return bool((np.concatenate(off) > _OFF_COLOUR).mean() > _OFF_COLOUR_SHARE)
