"""One inference with an artifact that may be damaged or forged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.evaluation.scoring import require_probabilities
from cxr_edge.runtimes.base import ArtifactSession


def guarded_run(
    session: ArtifactSession, artifact: Artifact, pixels: NDArray[np.uint8], heatmap: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Probabilities float32 `[N, K]` and, on request, heat maps, for pixels uint8 `[N, S, S, 1]`.

    Raises:
        ArtifactError: the runtime fails on the artifact although it loaded, or the outputs are not probabilities.
    """
    try:
        probabilities, maps = session.explain(pixels) if heatmap else (session.run(pixels), None)
        require_probabilities(probabilities, artifact.path, len(artifact.labels))
    except ArtifactError:
        raise
    except Exception as error:
        # The runtimes' own errors derive directly from Exception, or are RuntimeError or ValueError.
        raise ArtifactError(
            f"{artifact.path}: {session.ran_on} fails on it ({first_line(error)}); export it again"
        ) from None
    return probabilities, maps
