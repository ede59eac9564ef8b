"""File -> uint8 grey pixels: the only decode-and-resize in the project, used by training and on the device alike."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr_edge.errors import ImageError

#: Part of every artifact's contract. A change of any pixel this module yields is a new rule.
RULE: dict[str, Any] = {
    "decoder": "Pillow",
    "orientation": "EXIF orientation applied",
    "grey": "ITU-R 601-2 luma; alpha ignored; 16-bit and 32-bit grey stretched from its own minimum..maximum to 0..255",
    "resize": "stretch to S x S",
    "filter": "bilinear, antialiased",
    "version": 1,
}

#: More than four times the largest detector there is; past it a file is taken for a decompression bomb.
MAX_PIXELS = 80_000_000
# Pillow warns where this module refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_DEEP_GREY_MODES = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def _to_grey(image: Image.Image) -> Image.Image:
    if image.mode == "L":
        return image
    if image.mode in _DEEP_GREY_MODES:
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        scale = 255.0 / (high - low) if high > low else 0.0
        return Image.fromarray(np.round((values - low) * scale).astype(np.uint8))
    if image.mode in {"P", "PA"}:
        # Through RGB: Pillow would otherwise refuse some palettes with transparency.
        return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("L")
    return image.convert("L")


def open_grey(path: Path | str, content: bytes | None = None) -> Image.Image:
    """Decode an image file at its own size to 8-bit grey by `RULE`.

    Args:
        path: the file.
        content: its bytes, where the caller has read them already; `path` then only names it in messages.

    Raises:
        ImageError: the file is missing, truncated, too large to be safe, or not an image.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: refused, {image.width} x {image.height} pixels look like a decompression bomb"
                )
            image.load()
            return _to_grey(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: refused, {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: cannot be decoded ({error})") from None


def resized(grey: Image.Image, size: int) -> NDArray[np.uint8]:
    """A grey image as the network takes it, uint8 `[size, size]`, by `RULE`."""
    if grey.size != (size, size):
        grey = grey.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(grey, dtype=np.uint8)


def load_image(path: Path | str, size: int) -> NDArray[np.uint8]:
    """Decode an image file and resize it to `size` x `size` grey pixels by `RULE`.

    Returns:
        uint8 `[size, size]`.

    Raises:
        ImageError: as `open_grey`.
    """
    return resized(open_grey(path), size)
