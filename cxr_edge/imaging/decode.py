"""File -> uint8 grey pixels: the only decode-and-resize in the project, used by training and on the device alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr_edge.errors import ImageError
from cxr_edge.imaging import dicom
from cxr_edge.imaging.rule import STRETCH, WITHOUT_GROUPS, ImagingRule

#: More than four times the largest detector there is; past it a file is taken for a decompression bomb.
MAX_PIXELS = 80_000_000
#: Nothing in an X-ray of less can be told; what small thing carries an image's name is a placeholder, or an icon.
MIN_SIDE = 32
# Pillow warns where this module refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def reads_otherwise(rule: ImagingRule, path: Path | str) -> bool:
    """Whether a file has other pixels by `RULE` than by an artifact's rule for which `same_pixels` holds.

    Raises:
        ImageError, MissingDependencyError: as `open_grey`.
    """
    return rule.dicom == WITHOUT_GROUPS and dicom.is_dicom(path) and dicom.needs_groups(path)


_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 262, 0
_DEEP_GREY_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode == "L":
        return image
    if image.mode in _DEEP_GREY_MODES:
        values = np.asarray(image, dtype=np.float64)
        if image.mode == "F" and not np.isfinite(values).all():
            raise ValueError("values that are no numbers")
        low, high = float(values.min()), float(values.max())
        scale = 255.0 / (high - low) if high > low else 0.0
        return Image.fromarray(np.round((values - low) * scale).astype(np.uint8))
    if image.mode in {"P", "PA"}:
        # Through RGB: Pillow would otherwise refuse some palettes with transparency.
        return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("L")
    return image.convert("L")


def read_bytes(path: Path | str) -> bytes:
    """A file's content. Raises ImageError."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None


def _is_empty(path: Path | str, content: bytes | None) -> bool:
    return not content if content is not None else Path(path).stat().st_size == 0


def open_grey(path: Path | str, content: bytes | None = None) -> Image.Image:
    """Decode an image file at its own size to 8-bit grey by `RULE`.

    Args:
        path: the file.
        content: its bytes, where the caller has read them already; `path` then only names it in messages.

    Raises:
        ImageError: the file is missing, truncated, too large to be safe, too small, or not an image.
        MissingDependencyError: it is a DICOM file, and what reads it is not installed.
    """
    grey = _decoded(path, content)
    if min(grey.size) < MIN_SIDE:
        raise ImageError(f"{path}: refused, {grey.width} x {grey.height} pixels are too few for an X-ray")
    return grey


def _decoded(path: Path | str, content: bytes | None) -> Image.Image:
    if dicom.is_dicom(path if content is None else io.BytesIO(content)):
        return dicom.read_grey(path, MAX_PIXELS, content)
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: refused, {image.width} x {image.height} pixels look like a decompression bomb"
                )
            tags = getattr(image, "tag_v2", {})
            if image.mode in _DEEP_GREY_MODES and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
                # Pillow inverts these at 8 bits and not at 16: in silence it would be a negative.
                raise ValueError("a deep TIFF whose white is zero; save it with black as zero")
            image.load()
            return _to_grey(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: refused, {error}") from None
    except UnidentifiedImageError:
        kind = "a DICOM file (no DICM at byte 128)" if Path(path).suffix.lower() in dicom.SUFFIXES else "an image"
        raise ImageError(
            f"{path}: empty" if _is_empty(path, content) else f"{path}: not {kind} that can be read"
        ) from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: cannot be decoded ({error})") from None


def resized(grey: Image.Image, size: int, resize: str = STRETCH) -> NDArray[np.uint8]:
    """A grey image as the network takes it, uint8 `[size, size]`, by the rule with `resize`, one of `RESIZES`."""
    if grey.size != (size, size) and resize == "pad":
        grey = ImageOps.pad(grey, (size, size), Image.Resampling.BILINEAR, color=0)
    elif grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)


def load_image(path: Path | str, size: int, resize: str = STRETCH) -> NDArray[np.uint8]:
    """Decode an image file and bring it to `size` x `size` grey pixels by the rule with `resize`, one of `RESIZES`.

    Returns:
        uint8 `[size, size]`.

    Raises:
        ImageError, MissingDependencyError: as `open_grey`.
    """
    return resized(open_grey(path), size, resize)
