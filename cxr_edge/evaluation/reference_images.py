"""Reference inputs: images that travel with a bundle, and for which each artifact records its outputs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import UNZIPPING_ERRORS, Artifact
from cxr_edge.artifacts.bundle import REFERENCES, read_manifest, require_no_link
from cxr_edge.artifacts.validation import MAX_REFERENCES
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.files import read_bounded
from cxr_edge.phantoms.drawing import LABELS, draw_phantom

_PHANTOMS = 9
#: The array in today's files holds differences; the one in the earliest files holds grey values.
_DIFFERENCES, _PLAIN = "differences.npy", "images.npy"
_MAX_BYTES = 64 << 20


def reference_images(size: int) -> NDArray[np.uint8]:
    """uint8 `[45, S, S, 1]`: three phantoms per class, black, white, noise, and one phantom per class under each shift.

    Black, white and noise saturate whatever can saturate; int8 drift shows first on shifted images.
    """
    drawn = [draw_phantom(LABELS[index % len(LABELS)], 9000 + index, size).pixels for index in range(_PHANTOMS)]
    noise = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
    plain = np.stack([*drawn, np.zeros_like(noise), np.full_like(noise, 255), noise])[..., None]
    return np.concatenate([plain, *(shift.apply(plain[: len(LABELS)]) for shift in SUITE)])


def packed(images: NDArray[np.uint8]) -> bytes:
    """The content of the file of reference inputs.

    Stored as differences between neighbours in a row, which deflate to four fifths of the size of the grey values.
    """
    content = io.BytesIO()
    np.savez_compressed(content, differences=np.diff(images, axis=2, prepend=np.uint8(0)))
    return content.getvalue()


class ReferenceInputs(NamedTuple):
    """uint8 `[M, S, S, 1]`, and whether they are known to be the inputs used at export."""

    images: NDArray[np.uint8]
    known: bool


def reference_inputs(artifact: Artifact) -> ReferenceInputs:
    """The inputs whose outputs an artifact holds: those in its folder, or, for a file on its own, drawn again.

    Redrawn inputs equal the originals if phantoms and compression are those of the export; only then are they marked as
    known. Bundles from before November 2026 have the first twelve.

    Raises:
        ArtifactError: it holds no outputs, or the inputs in its folder belong to other artifacts or are not inputs.
    """
    path, wanted = artifact.path.parent / REFERENCES, artifact.metadata.reference_sha256
    if artifact.reference is None or wanted is None:
        raise ArtifactError(
            f"{artifact.path}: has no reference outputs (exported by an older version?); export it again"
        )
    if not path.is_file():
        drawn = reference_images(artifact.image_size)
        known = hashlib.sha256(packed(drawn)).hexdigest() == wanted
        return ReferenceInputs(drawn[: len(artifact.reference.probabilities)], known)
    return ReferenceInputs(_read(path, wanted, artifact.image_size), True)


def read_reference_images(folder: Path) -> NDArray[np.uint8]:
    """The inputs that came with a bundle, uint8 `[M, S, S, 1]`; bundles from before November 2026 have twelve.

    Raises:
        ArtifactError: the bundle has none, or the file is not the one in the manifest or holds something else.
    """
    shared, path = read_manifest(folder).shared, folder / REFERENCES
    if shared.reference_sha256 is None or not path.is_file():
        raise ArtifactError(f"{folder}: has no reference outputs (exported by an older version?); export it again")
    return _read(path, shared.reference_sha256, shared.contract.image_size)


def _read(path: Path, sha256: str, size: int) -> NDArray[np.uint8]:
    require_no_link(path)
    try:
        content = read_bounded(path, _MAX_BYTES)
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path}: holds no reference inputs ({first_line(error)}); export it again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(
            f"{path}: its SHA-256 is not the one that the artifacts were exported with; copy the bundle again or "
            "export it again"
        )
    try:
        return _unpacked(content, size)
    except (ValueError, KeyError, OSError, *UNZIPPING_ERRORS) as error:
        raise ArtifactError(f"{path}: holds no reference inputs ({first_line(error)}); export it again") from None


def _unpacked(content: bytes, size: int) -> NDArray[np.uint8]:
    """Unpack the output of `packed`, now or in earlier versions. Checks the size before unpacking anything."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = _DIFFERENCES if _DIFFERENCES in archive.namelist() else _PLAIN
        with archive.open(name) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("not an array of NumPy's first format")
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
            if shape[1:] != (size, size, 1) or not 0 < shape[0] <= MAX_REFERENCES or dtype != np.uint8 or by_column:
                raise ValueError(f"{dtype} {shape}, not images of {size} px")
            values = np.frombuffer(file.read(shape[0] * size * size), np.uint8).reshape(shape)
    return np.cumsum(values, axis=2, dtype=np.uint8) if name == _DIFFERENCES else values
