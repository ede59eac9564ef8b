"""Copies that are mirrored, turned, shifted or cut: named by their spectra, confirmed by laying one over the other.

What decides is the median of the local correlations of fine structure under the best affine map (`alignment.align`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.audit.alignment import Maps, align
from cxr_edge.audit.spectra import candidates
from cxr_edge.audit.structure import Floats

#: Least median of the local correlations, and least common area, that confirm a copy.
MIN_LOCAL_CORRELATION, MIN_OVERLAP = 0.95, 0.25
#: Zooms along either axis that a copy may have; a map beyond them fits by chance.
_MOST_ZOOM = 1.6
# What is less is not told of: pixels of the thumbnail, degrees, share of the side.
_SHIFT, _TURN, _ZOOM = 1.0, 1.0, 0.03


@dataclass(frozen=True)
class AlteredPairs:
    """Pairs of altered copies.

    Int64 `[P]` indices with `first < second`, float32 `[P]` correlations, and what was done to one, in words.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: Floats
    how: tuple[str, ...]


def altered_pairs(thumbnails: NDArray[np.uint8]) -> AlteredPairs:
    """Pairs of images that are one picture, altered: enough pairs to join all copies of it, not each of them.

    Args:
        thumbnails: uint8 `[N, S, S]`.
    """
    none = np.empty(0, dtype=np.int64)
    if len(thumbnails) < 2:
        return AlteredPairs(none, none, np.empty(0, dtype=np.float32), ())
    pairs = candidates(thumbnails)
    found = align(thumbnails, pairs.first, pairs.second, pairs.matrices)
    kept = np.flatnonzero((found.correlation >= MIN_LOCAL_CORRELATION) & (found.overlap >= MIN_OVERLAP))
    zooms = np.linalg.svd(found.maps[kept, :, :2], compute_uv=False)
    kept = kept[(zooms <= _MOST_ZOOM).all(axis=1) & (zooms >= 1 / _MOST_ZOOM).all(axis=1)]
    kept = kept[np.lexsort((pairs.second[kept], pairs.first[kept]))]
    return AlteredPairs(
        pairs.first[kept], pairs.second[kept], found.correlation[kept], tuple(what_was_done(found.maps[kept]))
    )


def what_was_done(maps: Maps) -> list[str]:
    """The parts of affine maps in words, such as "mirrored, turned by 5 degrees, cut".

    Args:
        maps: float64 `[P, 2, 3]`, of `alignment.Alignment`.
    """
    return [_in_words(map_) for map_ in maps]


def _in_words(map_: NDArray[np.float64]) -> str:
    linear, shift = map_[:, :2], map_[:, 2]
    mirrored = bool(np.linalg.det(linear) < 0)
    if mirrored:
        linear = linear @ np.diag([-1.0, 1.0])
    angle = float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    quarters = round(angle / 90) % 4
    if mirrored and quarters == 2:
        words = ["upside down"]
    else:
        words = ["mirrored"] * mirrored + [f"turned by {90 * min(quarters, 4 - quarters)} degrees"] * (quarters > 0)
    rest = abs(angle - 90 * round(angle / 90))
    zooms = np.linalg.svd(linear, compute_uv=False)
    if rest >= _TURN:
        words.append(f"turned by {rest:.0f} degree{'s' * (rest >= 1.5)}")
    if np.abs(zooms - 1).max() >= _ZOOM:
        words.append("cut or zoomed")
    elif np.abs(shift).max() >= _SHIFT:
        words.append("shifted")
    return ", ".join(words) or "saved anew"
