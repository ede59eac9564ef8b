"""The inputs of a classifier: files and arrays, read into an artifact's pixels, with warnings from their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import Picture
from cxr_edge.imaging.plausibility import Examined, examine, open_plausible
from cxr_edge.runtimes.loaded import picture_for
from cxr_edge.runtimes.selection import warning_about_image

#: A file, or grey values uint8 `[H, W]` or `[H, W, 1]` of any size.
ImageSource = str | PathLike[str] | NDArray[np.uint8]


@dataclass(frozen=True)
class ReadImage:
    """Pixels uint8 `[1, S, S, 1]` for the first of an artifact's files, warnings against relying on an answer, and the
    tags of a DICOM file. `grey` is the picture itself, kept only for a second file.
    """

    file: str | None
    pixels: NDArray[np.uint8]
    dicom: Mapping[str, str | None] | None = None
    warnings: tuple[str, ...] = ()
    grey: Image.Image | None = None


def each_image(images: ImageSource | Sequence[ImageSource]) -> list[ImageSource]:
    """A list of one or several images; an array `[N, H, W, 1]` is split."""
    if isinstance(images, str | PathLike):
        return [images]
    if isinstance(images, np.ndarray) and (images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 1)):
        return [images]
    return list(images)


def name_of(image: ImageSource) -> str | None:
    """The file's name; None for an array."""
    return None if isinstance(image, np.ndarray) else str(image)


def read_image(artifact: Artifact, image: ImageSource) -> ReadImage:
    """Read an image into an artifact's input.

    Raises:
        ImageError: a file cannot be read, an array does not hold grey values, or a picture cannot be a chest X-ray.
        MissingDependencyError: the reader for the file's format is not installed.
    """
    if isinstance(image, np.ndarray):
        return _read(artifact, None, examine("an array", Picture(_grey(image))), ())
    path = Path(image)
    examined = open_plausible(path)
    warning = warning_about_image(artifact, path) if examined.dicom is not None else None
    return _read(artifact, str(image), examined, (warning,) if warning else ())


def _read(artifact: Artifact, file: str | None, examined: Examined, warnings: tuple[str, ...]) -> ReadImage:
    first, *others = artifact.members
    return ReadImage(
        file,
        picture_for(first, examined.grey),
        examined.dicom,
        (*examined.warnings, *warnings),
        examined.grey if others else None,
    )


def _grey(values: NDArray[np.uint8]) -> Image.Image:
    grey = values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    if grey.ndim != 2 or grey.dtype != np.uint8 or not grey.size:
        raise ImageError(f"an array {list(values.shape)} of {values.dtype}: grey values uint8 [H, W] are needed")
    return Image.fromarray(grey)
