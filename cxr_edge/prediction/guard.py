"""One answer of an artifact that may be damaged or forged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade, is_unsure
from cxr_edge.errors import ArtifactError, CxrEdgeError, first_line
from cxr_edge.evaluation.scoring import require_probabilities
from cxr_edge.prediction.images import ReadImage
from cxr_edge.runtimes.base import ArtifactSession
from cxr_edge.runtimes.loaded import CascadeSession, LoadedArtifact, picture_for


class Answer(NamedTuple):
    """Probabilities float32 `[1, K]`, the heat map float32 `[1, H, W, K]` if requested, and the file that answered."""

    probabilities: NDArray[np.float32]
    heatmaps: NDArray[np.float32] | None
    file: Artifact


def answer_to(session: LoadedArtifact, artifact: Artifact, image: ReadImage, heatmap: bool) -> Answer:
    """The answer to one image, which is resized for the full model of a cascade only if that model is needed.

    Raises:
        ArtifactError: the runtime fails on a file although it loaded, or the outputs are not probabilities.
        ProviderError: an accelerator's process has died.
    """
    if not isinstance(session, CascadeSession) or not isinstance(artifact, Cascade):
        assert not isinstance(session, CascadeSession)
        return Answer(*_guarded_run(session, artifact, image.pixels, heatmap), artifact)
    answer = Answer(*_guarded_run(session.small, artifact.small, image.pixels, heatmap), artifact.small)
    if not is_unsure(answer.probabilities, artifact.threshold)[0]:
        return answer
    assert image.grey is not None
    pixels = picture_for(artifact.full, image.grey)
    return Answer(*_guarded_run(session.full, artifact.full, pixels, heatmap), artifact.full)


def _guarded_run(
    session: ArtifactSession, artifact: Artifact, pixels: NDArray[np.uint8], heatmap: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Probabilities float32 `[N, K]` and, on request, heat maps, for pixels uint8 `[N, S, S, 1]`."""
    try:
        probabilities, maps = session.explain(pixels) if heatmap else (session.run(pixels), None)
        require_probabilities(probabilities, artifact.path, len(artifact.labels))
    except CxrEdgeError:
        raise
    except Exception as error:
        # The runtimes' own errors derive directly from Exception, or are RuntimeError or ValueError.
        raise ArtifactError(
            f"{artifact.path}: {session.ran_on} fails on it ({first_line(error)}); export it again"
        ) from None
    return probabilities, maps
