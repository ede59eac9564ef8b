"""Add an artifact to a bundle so that its manifest never lists a file that is absent, partial or different."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.artifacts.bundle import CARD, MANIFEST, REFERENCES, listed_files, write_manifest
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.errors import ArtifactError
from cxr_edge.files import replacing, sha256_of


@dataclass(frozen=True)
class Published:
    """An artifact added to its bundle, and whatever else happened to the bundle, as human-readable lines."""

    artifact: Artifact
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Others:
    """A bundle's artifacts besides the new one: those to keep, and those to remove with their files."""

    kept: tuple[Artifact, ...]
    removed: tuple[Artifact, ...]
    notes: tuple[str, ...]


def publish(
    path: Path,
    content: bytes,
    metadata: ArtifactMetadata,
    references: bytes | None = None,
    is_superseded: Callable[[ArtifactMetadata], bool] = lambda other: False,
) -> Published:
    """Write an artifact and list it in the manifest of its folder.

    Artifacts of another model, version or recipe are removed from the manifest and the folder, as is one of the same
    format and quantization under another name. Missing or changed files are no longer listed. A kill at any moment
    leaves the bundle unchanged, without the artifact, or, if it was of another model, without a manifest. The model
    card described other artifacts and is removed.

    Args:
        path: the artifact's file.
        content: of the file, including its metadata.
        metadata: the same metadata.
        references: the content of the bundle's reference inputs, whose SHA-256 is in the metadata; None without them.
        is_superseded: whether another artifact of the bundle is removed because a device might use it in place of this
            one, although it is not known to meet the demand on int8.
    """
    folder = path.parent
    others = _other_artifacts(path, metadata, is_superseded)
    with replacing(path) as temporary, _new_references(folder, references, metadata.reference_sha256):
        temporary.write_bytes(content)
        _withdraw(folder, others, metadata)
    artifact = read_artifact(path)
    write_manifest(folder, metadata.shared, [*others.kept, artifact])
    return Published(artifact, others.notes)


def _other_artifacts(
    path: Path, metadata: ArtifactMetadata, is_superseded: Callable[[ArtifactMetadata], bool]
) -> _Others:
    folder = path.parent
    try:
        listed = [other for other in listed_files(folder) if other.name != path.name]
    except ArtifactError:
        # There is no manifest yet, or a damaged one, which is replaced; what it listed can be exported again.
        listed = []
    foreign = [other for other in listed if other.metadata.shared != metadata.shared]
    kept, removed, notes = [], [], []
    for other in listed:
        if other in foreign or (other.format, other.quantization) == (metadata.format, metadata.quantization):
            removed.append(other)
        elif is_superseded(other.metadata):
            removed.append(other)
            notes.append(
                f"{folder}: removed {other.name}, which is not known to meet the demand, as a device might use it in "
                f"place of {path.name}"
            )
        elif other.path.is_file() and sha256_of(other.path) == other.sha256:
            kept.append(other)
        else:
            notes.append(f"{other.path}: missing or changed since its export; no longer listed, export it again")
    if foreign:
        names = ", ".join(other.name for other in foreign)
        notes.append(f"{folder}: removed {names}, of another model, version or recipe")
    return _Others(tuple(kept), tuple(removed), tuple(notes))


def _withdraw(folder: Path, others: _Others, metadata: ArtifactMetadata) -> None:
    """Delist what is about to be replaced or removed, then remove it."""
    if others.kept:
        write_manifest(folder, metadata.shared, others.kept)
    else:
        (folder / MANIFEST).unlink(missing_ok=True)
    (folder / CARD).unlink(missing_ok=True)
    for other in others.removed:
        other.path.unlink(missing_ok=True)


@contextmanager
def _new_references(folder: Path, content: bytes | None, sha256: str | None) -> Iterator[None]:
    """Write the reference inputs, unless they are already there, and give them their final name after the body."""
    path = folder / REFERENCES
    if content is None or (path.is_file() and sha256_of(path) == sha256):
        yield
        return
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        yield
