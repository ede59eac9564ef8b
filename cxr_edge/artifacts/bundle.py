"""The bundle: a folder of artifacts with `manifest.json`, which says what each is, its hash, contract and verdict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact, read_artifact, read_metadata, require_artifact_file
from cxr_edge.artifacts.cascade import Cascade, cascade_of
from cxr_edge.artifacts.metadata import (
    CASCADE_SCHEMA,
    CascadeEntry,
    Manifest,
    ManifestEntry,
    OwnMetadata,
    SharedMetadata,
)
from cxr_edge.artifacts.migration import current_manifest
from cxr_edge.artifacts.validation import require_valid_manifest
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.files import read_bounded, require_bounded, sha256_of, write_json, write_text
from cxr_edge.records import from_json, parse_json, to_json

MANIFEST = "manifest.json"
#: Marks a folder that `cxr-edge install` manages; `artifacts.installation` reads it.
INSTALLED = "installed.json"
#: The reference inputs; `evaluation.reference_images` reads them.
REFERENCES = "reference.npz"
#: The model card; `cxr_edge.reporting.card` writes it.
CARD = "MODEL_CARD.md"
#: Real ones take about a megabyte.
MAX_MANIFEST_BYTES = 16 << 20
#: Real ones take some ten kilobytes.
_MAX_CARD_BYTES = 1 << 20


def bundle_in(folder: Path) -> Path:
    """The active bundle in a folder that `cxr-edge install` manages; any other folder itself. Raises ArtifactError."""
    if not (folder / INSTALLED).is_file():
        return folder
    from cxr_edge.artifacts.installation import BUNDLES, read_installation

    state = read_installation(folder)
    return folder if state is None else folder / BUNDLES / state.active


def read_checked_artifact(path: Path) -> Artifact:
    """Like `read_artifact`, but also checked against the manifest beside the file, if listed there.

    Raises:
        ArtifactError: as `read_artifact`, or the file differs from its entry in the manifest.
    """
    if path.is_file() and (path.parent / MANIFEST).is_file():
        for artifact in listed_files(path.parent):
            if artifact.name == path.name:
                return checked(artifact)
    return read_artifact(path)


def require_no_link(path: Path) -> None:
    """Refuse a symbolic link in place of a bundle's file. Raises ArtifactError."""
    if path.is_symlink():
        raise ArtifactError(f"{path}: a symbolic link; a bundle holds its files themselves: copy the file here")


def is_listed(path: Path) -> bool:
    """Whether the manifest beside a file lists it. Raises ArtifactError for a damaged manifest."""
    if not (path.parent / MANIFEST).is_file():
        return False
    return any(artifact.name == path.name for artifact in listed_files(path.parent))


def read_manifest(folder: Path) -> Manifest:
    """A bundle's `manifest.json`, of any schema. Raises ArtifactError if it is missing, damaged or too new."""
    path = folder / MANIFEST
    require_no_link(path)
    if not path.is_file():
        raise ArtifactError(f"{folder}: not a bundle (no {MANIFEST}); write one with cxr-edge export")
    try:
        manifest = from_json(Manifest, current_manifest(parse_json(read_bounded(path, MAX_MANIFEST_BYTES))))
        require_valid_manifest(manifest)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise ArtifactError(f"{path}: damaged, or of a later version ({reason}); export the bundle again") from None
    return manifest


def read_bundle(folder: Path) -> list[Artifact]:
    """The files of a bundle's artifacts (for a cascade, both), each verified by its hash.

    Raises:
        ArtifactError: a file is missing or differs from its entry in the manifest.
    """
    listed = listed_files(folder)
    require_any(listed, folder)
    return [checked(artifact) for artifact in listed]


def checked(artifact: Artifact) -> Artifact:
    """The artifact, after checking its file against the manifest entry. Raises ArtifactError if they differ.

    The hash proves that the file is intact. The manifest's other content, such as labels and thresholds, has no hash of
    its own: it is trusted only if it agrees with the metadata inside the file.
    """
    if not isinstance(artifact, Cascade):
        return _checked_file(artifact)
    for member in artifact.members:
        _checked_file(member)
    return artifact


def _checked_file(artifact: Artifact) -> Artifact:
    require_no_link(artifact.path)
    if not artifact.path.is_file():
        raise ArtifactError(f"{artifact.path}: listed in {MANIFEST} but missing; export it again")
    # A file without end cannot be hashed.
    require_artifact_file(artifact.path)
    if sha256_of(artifact.path) != artifact.sha256:
        raise ArtifactError(
            f"{artifact.path}: its SHA-256 is not the one in {MANIFEST}: the file was changed or damaged after the "
            "export; copy the bundle again or export it again"
        )
    inside = read_metadata(artifact.path)
    if not artifact.metadata.packages:
        # Manifests of schema 1 do not repeat how an artifact was made.
        stated = replace(artifact.metadata, calibration=inside.calibration, packages=inside.packages)
        artifact = replace(artifact, metadata=stated)
    if inside != artifact.metadata:
        names = (field.name for field in fields(inside))
        differing = ", ".join(n for n in names if getattr(inside, n) != getattr(artifact.metadata, n))
        raise ArtifactError(
            f"{artifact.path}: {MANIFEST} and the metadata inside the file differ in {differing}; copy the bundle "
            "again or export it again"
        )
    return artifact


def listed_artifacts(folder: Path) -> list[Artifact]:
    """A bundle's artifacts according to its manifest, a cascade as one; pass those you use through `checked`.

    Raises ArtifactError.
    """
    manifest = read_manifest(folder)
    files, cascade = _files_of(manifest, folder), manifest.cascade
    if cascade is None:
        return files
    named = {artifact.name: artifact for artifact in files}
    return [cascade_of(folder, cascade, named[cascade.small], named[cascade.full])]


def first_listed(folder: Path) -> Artifact:
    """The first of a bundle's artifacts, for a cascade the whole. Raises ArtifactError, also if none is listed."""
    listed = listed_artifacts(folder)
    require_any(listed, folder)
    return listed[0]


def require_any(listed: Sequence[Artifact], folder: Path) -> None:
    """Refuse a bundle whose manifest lists no artifacts. Raises ArtifactError."""
    if not listed:
        raise ArtifactError(f"{folder}: the bundle lists no artifacts; export some")


def listed_files(folder: Path) -> list[Artifact]:
    """Like `listed_artifacts`, but file by file, even for a cascade: to sign or pack them. Raises ArtifactError."""
    return _files_of(read_manifest(folder), folder)


def _files_of(manifest: Manifest, folder: Path) -> list[Artifact]:
    return [
        Artifact(folder / entry.file, entry.sha256, entry.bytes, manifest.metadata_of(entry))
        for entry in manifest.artifacts
    ]


def listed_card(folder: Path) -> str | None:
    """The name of a bundle's model card; None if its manifest lists none.

    Raises:
        ArtifactError: the card is listed, but missing, or differs from its entry in the manifest.
    """
    sha256, path = read_manifest(folder).card_sha256, folder / CARD
    if sha256 is None:
        return None
    require_no_link(path)
    try:
        require_bounded(path, _MAX_CARD_BYTES)
        if sha256_of(path) != sha256:
            raise ValueError("changed since it was written")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: not the model card in {MANIFEST} ({first_line(error)}); copy the bundle again, or write the card "
            "again with cxr-edge card"
        ) from None
    return CARD


def write_card(folder: Path, text: str) -> bool:
    """Write a bundle's model card and list it in the manifest. Returns False if the bundle already had this card.

    A kill leaves a bundle without a card, or with one that is not listed. Raises ArtifactError for a damaged manifest.
    """
    manifest, path = read_manifest(folder), folder / CARD
    if manifest.card_sha256 == hashlib.sha256(text.encode()).hexdigest():
        with suppress(ArtifactError):
            listed_card(folder)
            return False
    written = (folder / MANIFEST).stat()
    write_json(folder / MANIFEST, to_json(replace(manifest, card_sha256=None)))
    # A link in its place must not lead the writing elsewhere.
    path.unlink(missing_ok=True)
    write_text(path, text)
    write_json(folder / MANIFEST, to_json(replace(manifest, card_sha256=sha256_of(path))))
    # By its time, a run's latest bundle is the one exported last, not the one whose card was.
    os.utime(folder / MANIFEST, ns=(written.st_atime_ns, written.st_mtime_ns))
    return True


def write_manifest(folder: Path, shared: SharedMetadata, artifacts: Sequence[Artifact]) -> None:
    """Write `manifest.json`, atomically, for artifacts that share the metadata `shared`; it lists no model card."""
    entries = [_entry(artifact) for artifact in sorted(artifacts, key=lambda artifact: artifact.name)]
    write_json(folder / MANIFEST, to_json(Manifest(shared=shared, artifacts=tuple(entries))))


def write_cascade_manifest(folder: Path, cascade: CascadeEntry, small: Artifact, full: Artifact) -> None:
    """Write `manifest.json`, atomically, for a cascade of two artifacts; it lists no model card."""
    manifest = Manifest(
        schema=CASCADE_SCHEMA,
        shared=full.metadata.shared,
        artifacts=(replace(_entry(small), shared=small.metadata.shared), _entry(full)),
        cascade=cascade.sealed(small.sha256, full.sha256),
    )
    write_json(folder / MANIFEST, to_json(manifest))


def _entry(artifact: Artifact) -> ManifestEntry:
    return ManifestEntry(
        file=artifact.name,
        sha256=artifact.sha256,
        bytes=artifact.bytes,
        **{field.name: getattr(artifact.metadata, field.name) for field in fields(OwnMetadata)},
    )
