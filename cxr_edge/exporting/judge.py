"""An artifact beside its Keras model on the same images: the one way that export, verify and report go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.console import progress_bar
from cxr_edge.evaluation.gate import Gate
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.machine import usable_cores
from cxr_edge.runtimes.base import Session, runtimes_for
from cxr_edge.statistics.parity import parity


def preferred_session(path: Path, kind: ArtifactFormat, signed_activations: bool = False) -> tuple[str, Session]:
    """The title of the runtime that a format is verified on, and a session of it.

    Args:
        path: the file.
        kind: its format.
        signed_activations: compute an ONNX file's int8 activations in integers on x86 too, as its device will.

    Raises:
        MissingDependencyError: no runtime reads the format here.
        ArtifactError: the runtime cannot read the file.
    """
    runtime = runtimes_for(kind)[0]
    if kind == ArtifactFormat.ONNX and signed_activations and runtime.name == "onnx_runtime":
        from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession

        return runtime.title, ONNXRuntimeSession(path, usable_cores(), as_on_arm=True)
    return runtime.title, runtime.load(path, usable_cores())


def scored(session: Session, name: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities `[N, K]` that an artifact of a name gives for uint8 `[N, S, S, 1]`."""
    with progress_bar(f"verifying {name}", len(images)) as bar:
        return score_images(session, images, bar.tick)


def judged(
    reference: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    targets: NDArray[np.integer],
    labels: Sequence[str],
    gate: Gate,
    temperature: float,
    runtime: str,
) -> dict[str, Any]:
    """`parity` with the Keras model on the test split, and the title of the runtime; JSON-ready."""
    return {
        "runtime": runtime,
        "part": "test",
        **parity(reference, probabilities, targets, labels, gate, temperature),
    }
