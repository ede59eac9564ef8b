"""Score images with a loaded artifact, and refuse outputs that are not probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import ArtifactError, CxrEdgeError, first_line
from cxr_edge.runtimes.base import Session

#: How far a sum of probabilities may be from 1: an int8 output has multiples of 1/256.
_TOLERANCE = 0.05


def score_images(
    session: Session,
    images: NDArray[np.uint8],
    on_image: Callable[[], None] | None = None,
    name: object = "the artifact",
) -> NDArray[np.float32]:
    """float32 `[N, K]` from uint8 `[N, S, S, 1]`, one image at a time, as on a device.

    Args:
        session: a loaded artifact.
        images: at the artifact's input size.
        on_image: called after each image.
        name: what to call the artifact in errors.

    Raises:
        ArtifactError: it fails, or its output is not a distribution.
    """
    rows = []
    for index in range(len(images)):
        try:
            rows.append(session.run(np.ascontiguousarray(images[index : index + 1]))[0])
        except CxrEdgeError:
            raise
        except Exception as error:
            # The runtimes' own errors derive directly from Exception, or are RuntimeError or ValueError.
            raise ArtifactError(f"{name}: fails on an image ({first_line(error)}); export it again") from error
        if on_image:
            on_image()
    probabilities = np.stack(rows)
    require_probabilities(probabilities, name)
    return probabilities


def require_probabilities(answers: NDArray[np.floating], name: object, classes: int | None = None) -> None:
    """Refuse outputs that only a damaged or forged artifact gives.

    Args:
        answers: `[N, K]`.
        name: what to call the artifact in errors.
        classes: the expected K, if known.

    Raises:
        ArtifactError: the shape is wrong, a value is outside 0..1, or a row does not sum to 1.
    """
    if answers.ndim != 2 or (classes is not None and answers.shape[1] != classes):
        expected = "a row per image" if classes is None else f"{classes} probabilities per image"
        raise ArtifactError(f"{name}: its output has the shape {answers.shape}, not {expected}; export it again")
    # Written so that NaN fails.
    good = (answers.min(axis=1) >= -_TOLERANCE) & (np.abs(answers.sum(axis=1, dtype=np.float64) - 1) <= _TOLERANCE)
    if not good.all():
        row = answers[int(np.argmin(good))]
        values = ", ".join(f"{value:g}" for value in row[:10])
        raise ArtifactError(f"{name}: answers {values}, which are not probabilities; export it again")
