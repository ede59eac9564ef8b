"""Reference inputs: images that travel with a bundle, and for which each artifact records its outputs."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import REFERENCES, read_manifest, require_no_link
from cxr_edge.artifacts.cascade import SMALL_REFERENCES
from cxr_edge.artifacts.validation import MAX_REFERENCES
from cxr_edge.artifacts.zip_entry import UNZIPPING_ERRORS, open_bounded, require_small_directory
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.files import read_bounded
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.runtimes.loaded import joined

_PHANTOMS = 9
#: The array in today's files holds differences; the one in the earliest files holds grey values.
_DIFFERENCES, _PLAIN = "differences.npy", "images.npy"
#: Of the file, and of its images: 45 of 2048 px take 189 MB.
_MAX_BYTES, _MAX_UNPACKED_BYTES = 64 << 20, 256 << 20


def reference_images(size: int) -> NDArray[np.uint8]:
    """uint8 `[45, S, S, 1]`: three phantoms per class, black, white, noise, and one phantom per class under each shift.

    Black, white and noise drive activations into saturation; int8 drift shows first on shifted images.
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
    """A session's inputs, for a file uint8 `[M, S, S, 1]`, and whether they are known to equal those at export."""

    images: NDArray[np.uint8]
    known: bool


def reference_inputs(artifact: Artifact) -> ReferenceInputs:
    """The inputs of an artifact's recorded outputs: read from its folder, or drawn again for a file without one.

    Redrawn inputs equal the originals if phantoms and compression have not changed since the export; only then are they
    marked as known. Bundles from before November 2026 have only the first twelve.

    Raises:
        ArtifactError: it holds no outputs, or the inputs in its folder belong to other artifacts or are not inputs.
    """
    inputs = [_inputs_of_file(file) for file in artifact.members]
    return ReferenceInputs(joined([member.images for member in inputs]), all(member.known for member in inputs))


def _inputs_of_file(artifact: Artifact) -> ReferenceInputs:
    path, digest = artifact.path.parent / REFERENCES, artifact.metadata.reference_sha256
    if artifact.reference is None or digest is None:
        raise ArtifactError(
            f"{artifact.path}: has no reference outputs (exported by an older version?); export it again"
        )
    if _is_of_small(path.parent, digest):
        path = path.with_name(SMALL_REFERENCES)
    if not path.is_file():
        drawn = reference_images(artifact.image_size)
        known = hashlib.sha256(packed(drawn)).hexdigest() == digest
        return ReferenceInputs(drawn[: len(artifact.reference.probabilities)], known)
    return ReferenceInputs(_read(path, digest, artifact.image_size), True)


def checked_reference_files(folder: Path) -> list[str]:
    """Check a bundle's files of reference inputs, and return their names; none for bundles that predate them.

    Raises:
        ArtifactError: a file is missing, is not the one in the manifest, or holds something else.
    """
    manifest = read_manifest(folder)
    files = [(REFERENCES, manifest.shared)]
    files += [(SMALL_REFERENCES, entry.shared) for entry in manifest.artifacts if entry.shared is not None]
    names = []
    for name, shared in files:
        if shared.reference_sha256 is not None:
            _read(folder / name, shared.reference_sha256, shared.contract.image_size)
            names.append(name)
    return names


def _is_of_small(folder: Path, sha256: str) -> bool:
    """Whether a hash is that of the reference inputs of the small model of a cascade in a folder."""
    if not (folder / SMALL_REFERENCES).is_file():
        return False
    shared = [entry.shared for entry in read_manifest(folder).artifacts if entry.shared is not None]
    return any(metadata.reference_sha256 == sha256 for metadata in shared)


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
    file = io.BytesIO(content)
    require_small_directory(file)
    with zipfile.ZipFile(file) as archive:
        name = _DIFFERENCES if _DIFFERENCES in archive.namelist() else _PLAIN
        with open_bounded(archive, name, _MAX_UNPACKED_BYTES) as array:
            if np.lib.format.read_magic(array) != (1, 0):
                raise ValueError("not an array of NumPy's first format")
            try:
                shape, by_column, dtype = np.lib.format.read_array_header_1_0(array)
            except Exception as error:  # NumPy parses it as Python, and a forged one may raise almost anything.
                raise ValueError(first_line(error)) from None
            if shape[1:] != (size, size, 1) or not 0 < shape[0] <= MAX_REFERENCES or dtype != np.uint8 or by_column:
                raise ValueError(f"{dtype} {shape}, not images of {size} px")
            pixels = shape[0] * size * size
            if pixels > _MAX_UNPACKED_BYTES:
                raise ValueError(f"{shape[0]} images of {size} px")
            values = np.frombuffer(array.read(pixels), np.uint8).reshape(shape)
    return np.cumsum(values, axis=2, dtype=np.uint8) if name == _DIFFERENCES else values
