"""What identifies copies of one picture: a hash of its bytes, a perceptual hash and a thumbnail of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.imaging import decode

#: Side in pixels of the square thumbnail kept of each image: 4 KiB of memory per file.
THUMBNAIL = 64


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that cannot be used, and why. `sha256` is empty if not even its bytes could be read."""

    reason: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The fingerprint of one decoded file.

    `sha256` is the hash of its bytes, in hexadecimal; `phash` is the 64-bit perceptual hash of its pixels; `thumbnail`
    is uint8 `[THUMBNAIL, THUMBNAIL]`.
    """

    sha256: str
    phash: int
    thumbnail: NDArray[np.uint8]


def fingerprint(sha256: str, grey: Image.Image) -> Fingerprint:
    """Combine a file's hash with its decoded pixels, at their own size. Needs the imagehash package."""
    return Fingerprint(sha256, perceptual_hash(grey), decode.resized(grey, THUMBNAIL))


def perceptual_hash(grey: Image.Image) -> int:
    """The 64-bit DCT hash ("pHash") of an 8-bit grey image, by the imagehash package."""
    import imagehash

    bits: NDArray[np.bool_] = imagehash.phash(grey).hash
    return int.from_bytes(np.packbits(bits.ravel()).tobytes())
