"""Copies that are mirrored, rotated, shifted or cropped: proposed by their spectra, confirmed by alignment.

Neighbours by spectrum (`spectra.candidates`) are aligned (`alignment.align`). The median local correlation of fine
structure under the best affine map decides:

| | median local correlation |
|---|---|
| pairs of 2,680 radiographs | two of 0.99, each by eye one X-ray saved twice; others 0.913 and less |
| pairs of 20,000: these, and 17,320 phantoms of 64 px, no two of one seed | these two; others below the threshold |

Judged by eye, each of the twelve most similar other pairs (0.859 and more) is two exposures, likely of one patient, not
copies: pose, marker or stomach gas differ.

Share found of 300 copies of each kind, saved as JPEG of quality 80, among all 2,680 radiographs of 256 px, or 2,100
phantoms of 128 px. Areas exposed by a rotation, a shift or a reduction are black. A shift moves by that share of the
side, in one of eight directions; a crop takes that share off each side and is scaled back.

| | radiographs | phantoms |
|---|---|---|
| mirrored, upside down, rotated by 90, 180, 270 degrees, mirrored and rotated by 90, 270 | 100 % | 100 % |
| rotated by 2, 5, 10 degrees | 100, 99.7, 100 % | 100, 99.7, 99.7 % |
| shifted by 2, 5, 10 % | 100, 99.7, 99.7 % | 100, 99.3, 99.3 % |
| cropped by 2, 5, 10 % | 99.7, 98.7, 98.3 % | 99.7, 99.0, 69.3 % |
| reduced, with a black border of 5 % of the original on each side | 94.0 % | 96.0 % |
| mirrored, cropped by 5 % | 98.7 % | 99.0 % |
| rotated by 90 degrees, cropped by 5 % | 98.7 % | 99.3 % |
| rotated by 5 degrees, cropped by 5 % | 98.7 % | 97.0 % |
| mirrored, rotated by 5 degrees | 99.7 % | 99.7 % |
| randomly mirrored, rotated up to 10 degrees, shifted up to 10 %, cropped up to 5 % | 97.3 % | 93.0 % |

In these searches this method reported no pair of different pictures; the search by hash reported two pairs of phantoms,
involving reduced copies. Thresholds of 0.95 and 20 % find up to 2.4 % more of a kind, and a pair of different phantoms.

Seconds on two cores: 3 for the 2,680 radiographs; 10 for 3,000 and 115 for 20,000 images that are nearly all phantoms,
which are more alike than chests and so yield more candidates. With both cores busy with other work it took more than
twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.copies.alignment import Maps, align
from cxr_edge.copies.spectra import candidates
from cxr_edge.copies.structure import Floats

#: Minimum median local correlation, and minimum common area, to confirm a copy.
MIN_LOCAL_CORRELATION, MIN_OVERLAP = 0.955, 0.25
#: Range of zoom along either axis for a copy; a map beyond it fits by chance.
_MOST_ZOOM = 1.6
# Smaller changes are not reported: pixels of the thumbnail, degrees, share of the side.
_SHIFT, _TURN, _ZOOM = 1.0, 1.0, 0.03


@dataclass(frozen=True)
class AlteredPairs:
    """Pairs of altered copies.

    Int64 `[P]` indices with `first < second`, float32 `[P]` correlations, and how one was altered, in words.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: Floats
    how: tuple[str, ...]


def altered_pairs(thumbnails: NDArray[np.uint8]) -> AlteredPairs:
    """Pairs of images that are altered copies of one picture: enough pairs to join all its copies, not every pair.

    Args:
        thumbnails: uint8 `[N, S, S]`.
    """
    none = np.empty(0, dtype=np.int64)
    if len(thumbnails) < 2:
        return AlteredPairs(none, none, np.empty(0, dtype=np.float32), ())
    pairs = candidates(thumbnails)
    alignment = align(thumbnails, pairs.first, pairs.second, pairs.matrices)
    kept = np.flatnonzero((alignment.correlation >= MIN_LOCAL_CORRELATION) & (alignment.overlap >= MIN_OVERLAP))
    zooms = np.linalg.svd(alignment.maps[kept, :, :2], compute_uv=False)
    kept = kept[(zooms <= _MOST_ZOOM).all(axis=1) & (zooms >= 1 / _MOST_ZOOM).all(axis=1)]
    kept = kept[np.lexsort((pairs.second[kept], pairs.first[kept]))]
    return AlteredPairs(
        pairs.first[kept], pairs.second[kept], alignment.correlation[kept], tuple(what_was_done(alignment.maps[kept]))
    )


def what_was_done(maps: Maps) -> list[str]:
    """Describe the alterations that affine maps represent, such as "mirrored, turned by 5 degrees, shifted".

    Args:
        maps: float64 `[P, 2, 3]`, from `alignment.Alignment`.
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
        words.append("cropped or zoomed")
    elif np.abs(shift).max() >= _SHIFT:
        words.append("shifted")
    return ", ".join(words) or "saved again"
