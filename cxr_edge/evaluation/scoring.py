"""Probabilities of many images by a loaded artifact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runtimes.base import Session


def score_images(
    session: Session, images: NDArray[np.uint8], on_image: Callable[[], None] | None = None
) -> NDArray[np.float32]:
    """float32 `[N, K]` from uint8 `[N, S, S, 1]`, one image at a time, as on a device."""
    rows = []
    for index in range(len(images)):
        rows.append(session.run(np.ascontiguousarray(images[index : index + 1]))[0])
        if on_image:
            on_image()
    return np.stack(rows)
