"""Align one thumbnail with another: the affine map between two pictures that may be copies, and how alike they then
are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cxr_edge.copies.structure import Floats, blurred, masked_structure
from cxr_edge.processors import usable_cores

Maps = NDArray[np.float64]

# Range of grey levels within which a 5 x 5 window counts as of one colour.
_FLAT = 8
# Deviations, in pixels, of the Gaussians for the structure that is aligned and the finer structure that is compared.
_ALIGNED, _COMPARED = 3.0, 1.5
# Gauss-Newton steps at half size and at full size, and the correlation after the former that justifies the latter.
_COARSE_STEPS, _FINE_STEPS = 6, 4
_PROMISING = 0.84
# Bilinear interpolation blurs one of the two; this much blur on both hides the difference.
_BLUR = 0.5
# Deviation of the window of the local correlation.
_WINDOW = 4.0
_CHUNK = 32


@dataclass(frozen=True)
class Alignment:
    """For P pairs: how the second picture of each lies in the first.

    `maps` is float64 `[P, 2, 3]`: (x, y, 1) of the second, in pixels of the thumbnail from its centre, to (x, y) of the
    first. `correlation` is float32 `[P]`, the median of the local correlations over the common area; 0 if the attempt
    was abandoned early. `overlap` is float32 `[P]`, that area as a share of the frame.
    """

    maps: Maps
    correlation: Floats
    overlap: Floats


def align(
    thumbnails: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], matrices: NDArray[np.float64]
) -> Alignment:
    """Align pairs of images: shift by cross-correlation, then the whole map by Gauss-Newton (Lucas and Kanade, 1981).

    Args:
        thumbnails: uint8 `[N, S, S]`.
        first, second: int64 `[P]`, the pairs.
        matrices: float64 `[P, 2, 2]`, approximate maps from (x, y) of the second to the first, up to sign.
    """

    if not len(first):
        return Alignment(np.empty((0, 2, 3)), np.empty(0, np.float32), np.empty(0, np.float32))
    # Here and below the larger one is warped: the smaller, enlarged, would lack detail that the other has.
    inverted = np.abs(np.linalg.det(matrices)) < 0.99
    moved, still = np.where(inverted, second, first), np.where(inverted, first, second)
    rough = np.where(inverted[:, None, None], np.linalg.inv(matrices), matrices)
    with ThreadPoolExecutor(usable_cores()) as pool:

        def chunks(count: int, work: Callable[[slice], tuple[NDArray[Any], ...]]) -> list[NDArray[Any]]:
            parts = pool.map(work, [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)])
            return [np.concatenate(part) for part in zip(*parts, strict=True)]

        details, masks = chunks(len(thumbnails), lambda some: _coarse(thumbnails[some]))
        maps, alike = chunks(
            len(rough),
            lambda some: _roughly(
                details[moved[some]], masks[moved[some]], details[still[some]], masks[still[some]], rough[some]
            ),
        )
        left = np.flatnonzero(alike >= _PROMISING)
        enlarged = np.abs(np.linalg.det(maps[left, :, :2])) < 1
        moved[left], still[left] = _swapped(enlarged, moved[left], still[left])
        maps[left] = np.where(enlarged[:, None, None], _inverse(maps[left]), maps[left])
        inverted[left] ^= enlarged
        correlation, overlap = np.zeros(len(maps), np.float32), np.zeros(len(maps), np.float32)
        if len(left):
            maps[left], correlation[left], overlap[left] = chunks(
                len(left),
                lambda some: _finely(thumbnails[moved[left[some]]], thumbnails[still[left[some]]], maps[left[some]]),
            )
    return Alignment(np.where(inverted[:, None, None], _inverse(maps), maps), correlation, overlap)


def _swapped(
    swap: NDArray[np.bool_], first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.where(swap, second, first), np.where(swap, first, second)


def _coarse(thumbnails: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Structure and mask at half size, float32 `[N, S / 2, S / 2]`; once per image, however many pairs it is in."""
    mask = _content(thumbnails)
    detail = masked_structure(thumbnails.astype(np.float32), mask, _ALIGNED)
    return _half(blurred(detail, 1)), (_half(mask) == 1).astype(np.float32)


def _roughly(
    moving: Floats, moving_mask: Floats, fixed: Floats, fixed_mask: Floats, matrices: NDArray[np.float64]
) -> tuple[Maps, Floats]:
    """Maps in pixels of the full size, and the correlation float32 `[P]`, from the halves."""
    maps, alike = _refined(moving, moving_mask, fixed, fixed_mask, _shifted(moving, fixed, matrices), _COARSE_STEPS)
    maps[:, :, 2] *= 2
    return maps, alike


def _finely(first: NDArray[np.uint8], second: NDArray[np.uint8], maps: Maps) -> tuple[Maps, Floats, Floats]:
    """Maps, correlation and overlap at the full size."""
    greys = [first.astype(np.float32), second.astype(np.float32)]
    masks = [_content(first), _content(second)]
    moving, fixed = (
        blurred(masked_structure(grey, mask, _ALIGNED), _BLUR) for grey, mask in zip(greys, masks, strict=True)
    )
    maps, _ = _refined(moving, masks[0], fixed, masks[1], maps, _FINE_STEPS)
    return maps, *_compared(greys[0], masks[0], greys[1], masks[1], maps)


def _inverse(maps: Maps) -> Maps:
    # The pseudo-inverse, for a map that has collapsed.
    linear = np.linalg.pinv(maps[:, :, :2])
    return np.concatenate([linear, -linear @ maps[:, :, 2:]], axis=2)


def _half(images: Floats) -> Floats:
    """float32 `[P, S / 2, S / 2]` of `[P, S, S]`: means of 2 x 2 pixels, which keep the centre in place."""
    means: Floats = images.reshape(len(images), images.shape[1] // 2, 2, -1, 2).mean(axis=(2, 4))
    return means


def _grid(size: int) -> Floats:
    """float32 `[size * size, 2]`: (x, y) of each pixel from the centre."""
    side = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _content(thumbnails: NDArray[np.uint8]) -> Floats:
    """float32 `[N, S, S]`: 0 where an image is of one colour, due to a rotation, shift or collimator, else 1."""
    size = (1, 5, 5)
    spread = ndimage.maximum_filter(thumbnails, size) - ndimage.minimum_filter(thumbnails, size)
    # The whole window was of one colour; the pixel next to it mixes both sides.
    content: Floats = 1 - ndimage.maximum_filter(spread <= _FLAT, (1, 7, 7)).astype(np.float32)
    return content


def _warped(images: Floats, maps: Maps) -> Floats:
    """Images sampled at mapped positions, bilinearly, with 0 outside.

    Args:
        images: float32 `[C, P, S, S]`.
        maps: float64 `[P, 2, 3]`.

    Returns:
        float32 `[C, P, S * S]`.
    """
    size = images.shape[-1]
    linear, shift = np.split(maps.astype(np.float32), [2], axis=2)
    at = _grid(size) @ linear.transpose(0, 2, 1) + shift.transpose(0, 2, 1) + np.float32((size - 1) / 2)
    inside = ((at >= 0) & (at <= size - 1)).all(axis=-1)
    # At most the second-to-last index: each position needs a neighbour to the right and below.
    np.clip(at, 0, size - 1.001, out=at)
    corner = at.astype(np.int32)
    right, down = np.moveaxis(at - corner, -1, 0)
    index = corner[..., 1] * size + corner[..., 0] + np.arange(len(maps), dtype=np.int32)[:, None] * size**2
    warped = np.empty((len(images), *index.shape), dtype=np.float32)
    for plane, image in zip(warped, images, strict=True):
        flat = image.ravel()
        above = flat[index] * (1 - right) + flat[index + 1] * right
        below = flat[index + size] * (1 - right) + flat[index + size + 1] * right
        plane[:] = (above * (1 - down) + below * down) * inside
    return warped


def _shifted(moving: Floats, fixed: Floats, matrices: NDArray[np.float64]) -> Maps:
    """Maps with the shift from the peak of cross-correlation, using the better of each matrix and its negative."""
    size = moving.shape[-1]
    padded = (2 * size, 2 * size)
    spectrum = np.conj(fft.rfft2(fixed, padded))
    best, peak = np.zeros((len(matrices), 2, 3)), np.full(len(matrices), -np.inf)
    for sign in (1, -1):
        maps = np.concatenate([sign * matrices, np.zeros((len(matrices), 2, 1))], axis=2)
        moved = _warped(moving[None], maps)[0].reshape(moving.shape)
        surface = fft.irfft2(fft.rfft2(moved, padded) * spectrum, padded).reshape(len(maps), -1)
        shift = np.stack(np.divmod(surface.argmax(axis=1), 2 * size)[::-1], axis=1).astype(np.float64)
        shift[shift >= size] -= 2 * size
        maps[:, :, 2] = np.einsum("pij,pj->pi", maps[:, :, :2], shift)
        value = surface.max(axis=1) / np.maximum(np.linalg.norm(moved, axis=(1, 2)), 1e-6)
        better = value > peak
        best[better], peak[better] = maps[better], value[better]
    return best


def _refined(
    moving: Floats, moving_mask: Floats, fixed: Floats, fixed_mask: Floats, maps: Maps, steps: int
) -> tuple[Maps, Floats]:
    """Refined maps, and the correlation float32 `[P]` before the last step."""
    count = len(maps)
    slope_down, slope_right = np.gradient(moving, axis=(1, 2))
    planes = np.stack([moving, slope_right, slope_down, moving_mask])
    x, y = _grid(moving.shape[-1]).T
    target, target_mask = fixed.reshape(count, -1), fixed_mask.reshape(count, -1)
    alike = np.zeros(count, np.float32)
    for _ in range(steps):
        moved, right, down, inside = _warped(planes, maps)
        weight = inside * target_mask
        products, moved_square, target_square = (
            np.einsum("pk,pk,pk->p", weight, a, b) for a, b in ((moved, target), (moved, moved), (target, target))
        )
        alike = products / np.sqrt(np.maximum(moved_square * target_square, 1e-6))
        # Either may be the sharper one.
        gain = np.clip(products / np.maximum(moved_square, 1e-6), 0.3, 3)[:, None]
        error = (target - gain * moved) * weight
        slopes = np.stack([right * x, right * y, right, down * x, down * y, down], axis=1) * (gain * weight)[:, None]
        normal = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
        # Keeps the system solvable for a blank picture.
        normal += (1e-4 / 6 * np.trace(normal, axis1=1, axis2=2) + 1e-6)[:, None, None] * np.eye(6)
        change = np.linalg.solve(normal, (slopes @ error[:, :, None]).astype(np.float64))
        maps = maps + change.reshape(count, 2, 3)
    return maps, alike


def _compared(
    moving: Floats, moving_mask: Floats, fixed: Floats, fixed_mask: Floats, maps: Maps
) -> tuple[Floats, Floats]:
    """Correlation and overlap of pictures under their maps; float32 `[P]` each."""
    grey, inside = _warped(np.stack([moving * moving_mask, moving_mask]), maps).reshape(2, *moving.shape)
    mask = ((inside > 0.99) & (fixed_mask > 0)).astype(np.float32)
    a, b = (blurred(masked_structure(picture, mask, _COMPARED), _BLUR) * mask for picture in (grey, fixed))
    products, a_square, b_square = (blurred(product, _WINDOW) for product in (a * b, a * a, b * b))
    local = products / np.sqrt(a_square * b_square + 1e-6)
    correlation = [np.median(values[area > 0]) if area.any() else 0.0 for values, area in zip(local, mask, strict=True)]
    return np.array(correlation, dtype=np.float32), mask.mean(axis=(1, 2))
