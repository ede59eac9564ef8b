"""What distinguishes a picture: its detail, without the general shape of a chest and the exposure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


def structure(thumbnails: NDArray[np.uint8], sigma: float = 3) -> Floats:
    """Each pixel minus the Gaussian mean around it, divided by the local deviation: ribs, vessels and markers stay.

    Without this, pairs of different patients correlate up to 0.97.

    Args:
        thumbnails: uint8 `[N, S, S]`.
        sigma: of the Gaussian, in pixels.

    Returns:
        float32 `[N, S, S]`.
    """
    detail = thumbnails.astype(np.float32)
    detail -= ndimage.gaussian_filter(detail, (0, sigma, sigma))
    # Two extra grey levels, so that noise in a blank area is not amplified.
    detail /= np.sqrt(ndimage.gaussian_filter(np.square(detail), (0, sigma, sigma))) + 2
    return detail


def masked_structure(grey: Floats, mask: Floats, sigma: float) -> Floats:
    """As `structure`, but pixels outside the mask are ignored (normalized convolution) and become 0.

    Args:
        grey: float32 `[N, S, S]`.
        mask: float32 `[N, S, S]`, 0 or 1.
        sigma: of the Gaussian, in pixels.

    Returns:
        float32 `[N, S, S]`.
    """
    weight = blurred(mask, sigma) + 1e-3
    detail = (grey - blurred(grey * mask, sigma) / weight) * mask
    deviation = np.sqrt(blurred(np.square(detail), sigma) / weight)
    normalized: Floats = detail / (deviation + 2)
    return normalized


def blurred(images: Floats, sigma: float) -> Floats:
    """Gaussian filter over the last two axes of float32 `[N, S, S]`, padded with 0."""
    means: Floats = ndimage.gaussian_filter(images, (0, sigma, sigma), mode="constant")
    return means
