"""What is particular to a picture: its detail, less what a chest is like in general and how it was exposed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


def structure(thumbnails: NDArray[np.uint8], sigma: float = 3) -> Floats:
    """Each pixel less the Gaussian mean around it, over the deviation there: ribs, vessels and markers stay.

    Without it, pairs of different patients correlate up to 0.97.

    Args:
        thumbnails: uint8 `[N, S, S]`.
        sigma: of the Gaussian, in pixels.

    Returns:
        float32 `[N, S, S]`.
    """
    detail = thumbnails.astype(np.float32)
    detail -= ndimage.gaussian_filter(detail, (0, sigma, sigma))
    # Two grey levels more: what noise there is in a blank area must not be blown up.
    detail /= np.sqrt(ndimage.gaussian_filter(np.square(detail), (0, sigma, sigma))) + 2
    return detail


def masked_structure(grey: Floats, mask: Floats, sigma: float) -> Floats:
    """As `structure`, but what lies outside the mask has no part in it (normalized convolution), and is 0.

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
    own: Floats = detail / (deviation + 2)
    return own


def blurred(images: Floats, sigma: float) -> Floats:
    """Gaussian filter over the last two axes of float32 `[N, S, S]`; outside there is 0."""
    means: Floats = ndimage.gaussian_filter(images, (0, sigma, sigma), mode="constant")
    return means
