"""Reference inputs and outputs: what lets a device prove, without patients and TensorFlow, that it computes what was
validated."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.artifacts.verdict import FAILED, PASSED
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.files import replacing, sha256_of
from cxr_edge.machine import usable_cores
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.runtimes.base import Runtime, runtimes_for

FILE = "reference.npz"
_PHANTOMS = 9


def reference_images(size: int) -> NDArray[np.uint8]:
    """uint8 `[12, S, S, 1]`: phantoms of each class, black, white and noise, which saturate what can saturate."""
    drawn = [draw_phantom(LABELS[index % len(LABELS)], 9000 + index, size).pixels for index in range(_PHANTOMS)]
    noise = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    return np.stack([*drawn, np.zeros_like(noise), np.full_like(noise, 255), noise])[..., None]


def write_reference_images(folder: Path, images: NDArray[np.uint8]) -> str:
    """Write the inputs beside the artifacts, atomically; the SHA-256 of the file."""
    content = io.BytesIO()
    np.savez_compressed(content, images=images)
    with replacing(folder / FILE) as temporary:
        temporary.write_bytes(content.getvalue())
    return sha256_of(folder / FILE)


def read_reference_images(folder: Path) -> NDArray[np.uint8]:
    """The inputs that came with a bundle, uint8 `[M, S, S, 1]`.

    Raises:
        ArtifactError: the bundle has none, or the file is not the one the manifest describes.
    """
    wanted = read_manifest(folder).shared.reference_sha256
    path = folder / FILE
    if wanted is None or not path.is_file():
        raise ArtifactError(f"{folder}: has no reference outputs (exported by an older version?); export it again")
    if sha256_of(path) != wanted:
        raise ArtifactError(
            f"{path}: its SHA-256 is not the one in the manifest; copy the bundle again or export it again"
        )
    with np.load(path) as arrays:
        images: NDArray[np.uint8] = arrays["images"]
    return images


def replay(folder: Path, chosen: list[Runtime] | None, threads: int | None) -> list[dict[str, Any]]:
    """Run the reference inputs through each artifact on each runtime, and compare with what was recorded at export.

    Args:
        folder: a bundle.
        chosen: runtimes; None for all that are installed.
        threads: of one inference; None for all usable cores.

    Returns:
        JSON-ready rows: `artifact`, `runtime`, `recorded_on`, `largest_difference` from the record, `tolerance`,
        `largest_difference_to_keras`, `same_top` of `images`, `verdict`, and `probabilities` `[M][K]`, by which two
        devices can be compared; None where they are not finite.

    Raises:
        ArtifactError: the bundle has no reference outputs, or no artifact is read by a chosen runtime.
    """
    images = read_reference_images(folder)
    rows = []
    for artifact in read_bundle(folder):
        if artifact.reference is None:
            raise ArtifactError(f"{artifact.path}: has no reference outputs; export it again")
        able = runtimes_for(artifact.format) if chosen is None else chosen
        for runtime in able:
            if artifact.format in runtime.formats:
                found = score_images(runtime.load(artifact.path, threads or usable_cores()), images)
                rows.append({"runtime": runtime.title, **compared_with_recorded(artifact, found)})
    if not rows:
        titles = ", ".join(runtime.title for runtime in chosen or [])
        raise ArtifactError(f"{folder}: nothing in it can be read by {titles}")
    return rows


def compared_with_recorded(artifact: Artifact, found: NDArray[np.float32]) -> dict[str, Any]:
    """What an artifact found for the reference inputs, `[M, K]`, against what was recorded at export; see `replay`."""
    reference, tolerance = artifact.reference, artifact.quantization.tolerance
    assert reference is not None
    recorded, keras = (np.array(rows, dtype=np.float32) for rows in (reference.probabilities, reference.keras))
    # A NaN is on neither side of a limit; it must not pass.
    largest = float(np.nan_to_num(np.abs(found - recorded), nan=1.0).max())
    return {
        "artifact": artifact.name,
        "recorded_on": reference.runtime,
        "images": len(found),
        "same_top": int((found.argmax(axis=1) == recorded.argmax(axis=1)).sum()),
        "largest_difference": largest,
        "tolerance": tolerance,
        "largest_difference_to_keras": float(np.nan_to_num(np.abs(found - keras), nan=1.0).max()),
        "verdict": PASSED if largest <= tolerance else FAILED,
        "probabilities": found.tolist() if np.isfinite(found).all() else None,
    }
