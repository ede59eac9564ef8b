"""Find pairs of images that may be mirrored, rotated, shifted or cropped copies, by the magnitudes of their spectra.

The magnitude of a Fourier transform does not change when a picture is shifted or rotated by 180 degrees. In log-polar
coordinates, a rotation or reflection moves it along the angle only, a zoom along the radius only (Reddy and Chatterji,
An FFT-based technique for translation, rotation, and scale-invariant image registration, IEEE Trans. Image Processing
5(8), 1996). So each image has one such table, and those of its altered versions are this table rolled, flipped or read
at an offset: no image is processed again, and the nearest neighbours come from matrix products.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cxr_edge.copies.structure import Floats, structure
from cxr_edge.data.fingerprint import THUMBNAIL

# Frequencies in cycles per thumbnail. Steps are 7.5 degrees and 16 %; anything between two is at most half a step from
# one.
_ANGLES, _RADII, _LOWEST, _HIGHEST = 24, 12, 3.0, 16.0
_STEP = (_HIGHEST / _LOWEST) ** (1 / (_RADII - 1))
_PADDED = 2 * THUMBNAIL
# Deviation of a bin, in cycles per thumbnail: wider bins tolerate more changes and discriminate less.
_BIN = 0.5
_CHUNK = 256

# Descriptors: their length, the whitening regularization (as a share of the mean variance), and the number of images
# used.
_LENGTH, _SHRINKAGE, _SAMPLE = 128, 0.1, 600
#: Minimum cosine of two descriptors for a candidate, and maximum number of candidates of an image among later ones.
MIN_COSINE, NEIGHBOURS = 0.5, 3
# Up to this many images say little about what is typical, so any pair may be a candidate, whatever its cosine.
_FEW = 64
_BLOCK = 1024


@dataclass(frozen=True)
class Alteration:
    """Mirrored or not, then the number of steps of rotation and zoom along the table's axes."""

    mirrored: bool
    turn: int
    zoom: int

    def matrix(self) -> NDArray[np.float64]:
        """float64 `[2, 2]`: maps (x, y) of the second picture to the first, relative to the centres, up to sign."""
        angle = np.pi / _ANGLES * self.turn
        cosine, sine = np.cos(angle), np.sin(angle)
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        if self.mirrored:
            rotation = np.diag([1.0, -1.0]) @ rotation
        return np.asarray(rotation / _STEP**self.zoom)


#: The symmetries of the square (a rotation by 180 degrees has the same spectrum), each with up to a step more or less.
#: Each one's inverse is included, so an unordered pair needs only one direction.
ALTERATIONS = tuple(
    Alteration(mirrored, quarters * _ANGLES // 2 + turn, zoom)
    for mirrored, quarters, turn, zoom in itertools.product((False, True), (0, 1), (-1, 0, 1), (-1, 0, 1))
)


@dataclass(frozen=True)
class Candidates:
    """Pairs that may be one picture: int64 `[P]` indices, `first < second`, and float64 `[P, 2, 2]` rough maps."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    matrices: NDArray[np.float64]


def candidates(thumbnails: NDArray[np.uint8]) -> Candidates:
    """The nearest neighbours of each image among altered versions of the others.

    An image with many copies gets only a few of them, but always some of those after it: joined transitively, all are
    covered.

    Args:
        thumbnails: uint8 `[N, S, S]`.
    """
    spectra = polar_spectra(thumbnails)
    describe = _Descriptor(spectra)
    plain = describe(spectra, Alteration(False, 0, 0))
    least = MIN_COSINE if len(spectra) > _FEW else -2.0
    blocks = [
        _nearest(
            [describe(spectra[top : top + _BLOCK], alteration) for alteration in ALTERATIONS], plain[top:], top, least
        )
        for top in range(0, len(spectra), _BLOCK)
    ]
    first, second, kind = (np.concatenate(part) for part in zip(*blocks, strict=True))
    matrices = np.stack([alteration.matrix() for alteration in ALTERATIONS])
    return Candidates(first, second, matrices[kind])


def _nearest(
    altered: list[Floats], later: Floats, top: int, least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First, second and alteration of the candidates whose first image is in the block that begins at `top`."""
    parts = []
    for kind, rows in enumerate(altered):
        alike = rows @ later.T
        at = np.flatnonzero(alike >= least)
        first, second = np.divmod(at, len(later))
        after = first < second
        parts.append((first[after], second[after], alike.ravel()[at[after]], np.full(after.sum(), kind)))
    first, second, alike, kinds = (np.concatenate(part) for part in zip(*parts, strict=True))
    # The best alteration of each pair, then the best pairs of each image.
    order = np.lexsort((-alike, second, first))
    order = order[np.r_[True, (np.diff(first[order]) != 0) | (np.diff(second[order]) != 0)][: len(order)]]
    order = order[np.lexsort((-alike[order], first[order]))]
    sorted_first = first[order]
    kept = order[np.arange(len(order)) - np.searchsorted(sorted_first, sorted_first) < NEIGHBOURS]
    return first[kept] + top, second[kept] + top, kinds[kept]


def polar_spectra(thumbnails: NDArray[np.uint8]) -> Floats:
    """The tables: square roots of the magnitudes of the spectra of the images' structure.

    Args:
        thumbnails: uint8 `[N, S, S]`.

    Returns:
        float32 `[N, RADII + 2, ANGLES]`, one radius more at either end.
    """
    used, weights = _polar_weights()
    # The square root of a Hann window: what a shift moves out of the frame is faint, and the frame's edges leave no
    # cross.
    side = np.hanning(THUMBNAIL + 2)[1:-1]
    window = np.sqrt(np.outer(side, side)).astype(np.float32)
    tables = np.empty((len(thumbnails), weights.shape[1]), dtype=np.float32)
    for start in range(0, len(thumbnails), _CHUNK):
        detail = structure(thumbnails[start : start + _CHUNK])
        detail = (detail - detail.mean(axis=(1, 2), keepdims=True)) * window
        spectrum = fft.rfft2(detail, (_PADDED, _PADDED), workers=-1).reshape(len(detail), -1)
        tables[start : start + _CHUNK] = np.sqrt(np.abs(spectrum[:, used])) @ weights
    return tables.reshape(-1, _RADII + 2, _ANGLES)


@functools.cache
def _polar_weights() -> tuple[NDArray[np.intp], Floats]:
    """Weights of each bin: a Gaussian mean over the half plane that `rfft2` returns.

    Returns:
        int64 `[U]`, the positions of the flattened half plane with weight, and float32 `[U, (RADII + 2) * ANGLES]`.
    """
    y = fft.fftfreq(_PADDED, 1 / THUMBNAIL)[:, None]
    x = fft.rfftfreq(_PADDED, 1 / THUMBNAIL)[None, :]
    columns = []
    for radius, angle in itertools.product(
        _LOWEST * _STEP ** np.arange(-1.0, _RADII + 1), np.pi / _ANGLES * np.arange(_ANGLES)
    ):
        weight = np.zeros((_PADDED, _PADDED // 2 + 1))
        # A bin that lies in the other half, or extends into it, is read at the opposite point.
        for sign in (1, -1):
            distance = np.square(y - sign * radius * np.sin(angle)) + np.square(x - sign * radius * np.cos(angle))
            weight += np.exp(-distance / (2 * _BIN**2))
        columns.append((weight / weight.sum()).ravel())
    weights = np.stack(columns, axis=1).astype(np.float32)
    used = np.flatnonzero(weights.max(axis=1) > 1e-6)
    return used, np.ascontiguousarray(weights[used])


def _altered(spectra: Floats, alteration: Alteration) -> Floats:
    """float32 `[N, RADII * ANGLES]`: the tables that the images would have after the alteration."""
    angles = np.arange(_ANGLES) + alteration.turn
    angles = (-angles if alteration.mirrored else angles) % _ANGLES
    rows = 1 + alteration.zoom
    return np.ascontiguousarray(spectra[:, rows : rows + _RADII][:, :, angles]).reshape(len(spectra), -1)


class _Descriptor:
    """Makes descriptors: tables whitened by the statistics of all tables, including altered ones, so that the bins that
    distinguish chests count most.
    """

    def __init__(self, spectra: Floats) -> None:
        some = spectra[:: max(1, len(spectra) // _SAMPLE)]
        pool = np.concatenate([_altered(some, alteration) for alteration in ALTERATIONS])
        self._mean, self._deviation = pool.mean(axis=0), pool.std(axis=0) + np.float32(1e-6)
        pool = self._scaled(pool)
        variances, axes = np.linalg.eigh(pool.T @ pool / len(pool))
        whitened = axes / np.sqrt(np.maximum(variances, 0) + _SHRINKAGE * variances.mean() + 1e-9)
        self._whitening = np.ascontiguousarray(whitened[:, -_LENGTH:]).astype(np.float32)

    def _scaled(self, tables: Floats) -> Floats:
        return _unit((tables - self._mean) / self._deviation)

    def __call__(self, spectra: Floats, alteration: Alteration) -> Floats:
        """float32 `[N, LENGTH]` of unit norm."""
        return _unit(self._scaled(_altered(spectra, alteration)) @ self._whitening)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
    return unit
