"""File -> uint8 grey pixels: the only decode-and-resize in the project, used by training and on the device alike."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cxr_edge.errors import ImageError
from cxr_edge.imaging.dicom_files import DICOM_SUFFIXES, is_dicom
from cxr_edge.imaging.reading import read_bytes
from cxr_edge.imaging.rule import STRETCH, WITH_GROUPS, WITHOUT_GROUPS, ImagingRule

#: More than four times the largest detector; anything larger is treated as a decompression bomb.
MAX_PIXELS = 80_000_000
#: A smaller X-ray shows nothing; such small image files are placeholders or icons.
MIN_SIDE = 32
#: The Pillow formats that are opened, whatever the file's name says. Some of Pillow's others start a program (EPS
#: starts Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
# Pillow only warns where this module refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class Otherwise(StrEnum):
    """How `RULE` reads a file that an earlier version of it read differently."""

    GROUPS = "by the window or rescale in its functional groups"
    PALETTE = "with its palette in big-endian byte order"


def reads_otherwise(rule: ImagingRule, path: Path | str) -> Otherwise | None:
    """How a file's pixels under `RULE` differ from those under an artifact's rule that passes `same_pixels`; None if
    they do not.

    Raises:
        ImageError, MissingDependencyError: as `open_grey`.
    """
    if rule.dicom not in (WITHOUT_GROUPS, WITH_GROUPS) or not is_dicom(path):
        return None
    from cxr_edge.imaging.dicom_pixels import has_big_endian_palette, needs_groups

    if rule.dicom == WITHOUT_GROUPS and needs_groups(path):
        return Otherwise.GROUPS
    return Otherwise.PALETTE if has_big_endian_palette(path) else None


_DEEP_GREY_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
# TIFF's PhotometricInterpretation, NewSubfileType, TileWidth and TileLength. Bits of a subfile's type mark it as a
# smaller version of another page, or its mask.
_PHOTOMETRIC_TAG, _WHITE_IS_ZERO = 262, 0
_SUBFILE_TAG, _AUXILIARY = 254, 0b101
_TILE_TAGS = (322, 323)
_BITS_TAG = 258
#: Pages examined in search of a further picture: more than a scanner's previews.
_MOST_PAGES = 16
#: Most scans of a progressive JPEG; encoders write about ten, and each costs a pass over all pixels.
_MOST_SCANS = 100
#: Side of the grid of pixels whose colours are examined.
_GRID = 64
#: Pixels converted at a time, to keep intermediate results in float64 small.
_BAND = 2**20
#: WebP's decoder holds several copies in RGBA, so half as many pixels take as much memory.
_MAX_WEBP_PIXELS = MAX_PIXELS // 2

_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What a file claims to be, before conversion to grey.

    `format` and `mode` are Pillow's names, or DICOM and its photometric interpretation (empty if it has none); `width`
    and `height` are in stored pixels, before any EXIF orientation.
    """

    format: str
    mode: str
    width: int
    height: int


def read_header(path: Path | str, content: bytes) -> Header:
    """The header of an image file that `open_grey` decodes.

    Args:
        path: for messages.
        content: its bytes.

    Raises:
        ImageError, MissingDependencyError: as `open_grey`.
    """
    if is_dicom(io.BytesIO(content)):
        from cxr_edge.imaging.dicom import stored_as

        return Header("DICOM", *stored_as(path, content))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return Header(image.format or "", image.mode, image.width, image.height)
    except Exception as error:  # As in `_decoded`.
        raise ImageError(f"{path}: cannot be decoded ({error})") from None


@dataclass(frozen=True)
class Picture:
    """An image file decoded at its own size to 8-bit grey by `RULE`; for a colour file other than DICOM, also some
    pixels from a grid over the picture, RGB uint8 `[M, 3]`.
    """

    grey: Image.Image
    colours: NDArray[np.uint8] | None = None


def open_grey(path: Path | str, content: bytes | None = None) -> Image.Image:
    """The grey of `open_picture`."""
    return open_picture(path, content).grey


def open_picture(path: Path | str, content: bytes | None = None) -> Picture:
    """Decode an image file.

    Args:
        path: the file.
        content: its bytes, if the caller has already read them; `path` is then only for messages.

    Raises:
        ImageError: the file is missing, not a regular file, truncated, too large to be safe, too small, has several
            pictures, or is not an image.
        MissingDependencyError: it is a DICOM file, and the reader is not installed.
    """
    picture = _decoded(path, read_bytes(path) if content is None else content)
    width, height = picture.grey.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{path}: refused, {width} x {height} pixels are too few for an X-ray")
    return picture


def _decoded(path: Path | str, content: bytes) -> Picture:
    if not content:
        raise ImageError(f"{path}: empty")
    if is_dicom(io.BytesIO(content)):
        from cxr_edge.imaging.dicom_pixels import read_grey

        return Picture(read_grey(path, MAX_PIXELS, content))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _refuse_bombs(path, image, content)
            if (pictures := _pictures(image, content)) > 1:
                raise ImageError(
                    f"{path}: {pictures} pictures in one file; save the one that is meant as a file of its own"
                )
            tags = getattr(image, "tag_v2", {})
            if image.mode in _DEEP_GREY_MODES and tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
                # Pillow inverts these at 8 bits but not at 16, where the result would silently be a negative.
                raise ValueError("a deep TIFF whose white is zero; save it with black as zero")
            if _is_deep_colour(image, content):
                raise ValueError(
                    "16 bits per channel, of which some would be lost; save it as 16-bit grey or with 8 bits"
                )
            image.load()
            turn = _TRANSPOSED.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            grey, colours = _to_grey(image), _colours(image)
        return Picture(grey if turn is None else grey.transpose(turn), colours)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: refused, {error}") from None
    except UnidentifiedImageError:
        kind = "a DICOM file (no DICM at byte 128)" if Path(path).suffix.lower() in DICOM_SUFFIXES else "an image"
        raise ImageError(f"{path}: not {kind} that can be read") from None
    except Exception as error:  # Pillow's decoders may raise almost anything for a damaged file.
        raise ImageError(f"{path}: cannot be decoded ({error or type(error).__name__})") from None


def _refuse_bombs(path: Path | str, image: Image.Image, content: bytes) -> None:
    """Raises ImageError for an image that would take too much memory or time to decode."""
    most = _MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
    tags = getattr(image, "tag_v2", {})
    tile = int(tags.get(_TILE_TAGS[0], 0)) * int(tags.get(_TILE_TAGS[1], 0))
    if max(image.width * image.height, tile) > most:
        raise ImageError(f"{path}: refused, {image.width} x {image.height} pixels look like a decompression bomb")
    # 0xFF is always a marker there, and 0xDA begins a scan.
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > _MOST_SCANS:
        raise ImageError(f"{path}: refused, a JPEG of more than {_MOST_SCANS} scans looks like a decompression bomb")


def _is_deep_colour(image: Image.Image, content: bytes) -> bool:
    """Whether a PNG or TIFF has several channels, alpha included, of more than 8 bits.

    Of these, Pillow keeps the upper 8: almost black if an X-ray's 12 bits are in the lower ones.
    """
    if image.format == "PNG":
        # The bit depth and the colour type in the header, which is always at the same place.
        return content[24] == 16 and content[25] in (2, 4, 6)
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_TAG, (1,))  # type: ignore[attr-defined]
        return len(bits) > 1 and max(bits) > 8
    return False


def _pictures(image: Image.Image, content: bytes) -> int:
    """The number of pictures in a file that are meant to be viewed: frames of an animation, pages of a TIFF.

    Smaller versions of a page and masks do not count, nor do the extra pictures in a camera's JPEG (MPO).
    """
    if image.format != "TIFF":
        return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    # A separate object for the same bytes: decoding must not depend on the position of this one.
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as pages:
        pictures = 1
        for number in range(1, _MOST_PAGES):
            try:
                pages.seek(number)
            except Exception:  # The end, or a damaged page, which shows nothing.
                break
            pictures += not int(pages.tag_v2.get(_SUBFILE_TAG, 0)) & _AUXILIARY  # type: ignore[attr-defined]
    return pictures


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode == "L":
        # Not the image itself, whose file is about to be closed.
        return image.copy()
    if image.mode in _DEEP_GREY_MODES:
        return _stretched(image)
    if image.mode in {"P", "PA"}:
        # Via RGB: otherwise Pillow refuses some palettes with transparency.
        return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("L")
    return image.convert("L")


def _colours(image: Image.Image) -> NDArray[np.uint8] | None:
    """RGB uint8 `[M, 3]` of some pixels; None for a picture that can only be grey."""
    if image.mode in {"1", "L", "LA", *_DEEP_GREY_MODES}:
        return None
    grid = image.resize((_GRID, _GRID), Image.Resampling.NEAREST)
    return np.asarray(grid.convert("RGBA" if "transparency" in image.info else "RGB"))[..., :3].reshape(-1, 3)


def _bands(image: Image.Image) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Bands of rows of an image: their slice, and their values `[rows, width]`."""
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), np.asarray(image.crop((0, top, image.width, bottom)))


def _stretched(image: Image.Image) -> Image.Image:
    """Deep grey stretched to 0..255, in bands of rows: 80 million pixels in float64 would take 640 MB."""
    low, high = np.inf, -np.inf
    for _, values in _bands(image):
        if not np.isfinite(values).all():
            raise ValueError("values that are not numbers")
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    scale = 255.0 / (high - low) if high > low else 0.0
    grey = np.empty((image.height, image.width), np.uint8)
    for rows, values in _bands(image):
        grey[rows] = np.round((values.astype(np.float64) - low) * scale)
    return Image.fromarray(grey)


def resized(grey: Image.Image, size: int, resize: str = STRETCH) -> NDArray[np.uint8]:
    """A grey image in the network's form, uint8 `[size, size]`, by the rule with `resize`, one of `RESIZES`."""
    if grey.size != (size, size) and resize == "pad":
        grey = ImageOps.pad(grey, (size, size), Image.Resampling.BILINEAR, color=0)
    elif grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)


def load_image(path: Path | str, size: int, resize: str = STRETCH) -> NDArray[np.uint8]:
    """Decode an image file to `size` x `size` grey pixels by the rule with `resize`, one of `RESIZES`.

    Returns:
        uint8 `[size, size]`.

    Raises:
        ImageError, MissingDependencyError: as `open_grey`.
    """
    return resized(open_grey(path), size, resize)
