"""Whether a picture can be a chest X-ray at all: the only rule that refuses answers or adds a warning.

A classifier with three classes has an answer for anything. This rule knows no anatomy: it checks a picture's pixel
statistics and its tags, and lets a grey picture of something else pass. Training does not use it.
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
from cxr_edge.imaging.dicom_files import is_dicom
from cxr_edge.imaging.reading import read_bytes

#: Minimum range of grey values between the first and the last percent of the pixels. Of 3,354 chest X-rays from six
#: sources, the flattest has 59.
MIN_RANGE = 32
#: Ratio of the longer to the shorter side: above the first value a picture gets a warning (the same X-rays have at most
#: 1.35), above the second it is refused.
DOUBTED_ASPECT, MAX_ASPECT = 1.75, 3.0
#: Share of black or white pixels up to which a picture gets no warning; 99 of 100 of these X-rays have at most 0.26.
MAX_SATURATED = 0.6
#: Grey values that count as black, and as white.
_BLACK, _WHITE = 2, 253
#: A pixel is coloured if its channels are this far apart; a picture, if more than this share of its pixels is.
_COLOURED, _COLOURED_SHARE = 32, 0.1
#: A tinted or photographed film has one colour for each grey level. In a picture with many colours, more than this
#: share of the pixels is this far from the typical colour of their grey level: 1 % in a violet film, 15 % or more in
#: photographs.
_OFF_COLOUR, _OFF_COLOUR_SHARE = 24, 0.08


@dataclass(frozen=True)
class Examined:
    """A picture that may be a chest X-ray, grey, at its own size; doubts about it, one line each; and the `dicom_facts`
    of a DICOM file.
    """

    grey: Image.Image
    warnings: tuple[str, ...] = ()
    dicom: Mapping[str, str | None] | None = None


def open_plausible(path: Path) -> Examined:
    """Decode and examine an image file.

    Raises:
        ImageError: it cannot be decoded, or cannot be a chest X-ray.
        MissingDependencyError: the reader for the file's format is not installed.
    """
    content = read_bytes(path)
    examined = examine(path, open_picture(path, content))
    if not is_dicom(BytesIO(content)):
        return examined
    from cxr_edge.imaging.dicom import dicom_facts, other_modality, warnings_about

    facts = dicom_facts(path, content)
    if other := other_modality(facts):
        raise ImageError(f"{path}: refused, {other}")
    return Examined(examined.grey, (*warnings_about(facts), *examined.warnings), facts)


def examine(name: Path | str, picture: Picture) -> Examined:
    """Examine only the pixels; `name` is for messages. Raises ImageError if it cannot be a chest X-ray."""
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
    """Whether pixels `[M, 3]` of about the same brightness differ in colour."""
    channels = colours.astype(np.int16)
    red, green, blue = channels.T
    order = np.argsort(channels @ np.array([0.299, 0.587, 0.114]), kind="stable")
    tints = np.stack([red - green, blue - green], axis=1)[order]
    off = [np.abs(alike - np.median(alike, axis=0)).max(axis=1) for alike in np.array_split(tints, 16)]
    return bool((np.concatenate(off) > _OFF_COLOUR).mean() > _OFF_COLOUR_SHARE)
