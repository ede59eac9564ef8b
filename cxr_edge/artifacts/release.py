"""A release: the model owner's signed statement about a bundle's files, in `release.json` and `release.sig`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.artifacts.bundle import MANIFEST
from cxr_edge.artifacts.validation import FILE_NAME, SHA256
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import ArtifactError, MissingDependencyError, OptionError, first_line
from cxr_edge.files import read_bounded, sha256_of
from cxr_edge.records import JsonObject, from_json, parse_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RELEASE, SIGNATURE = "release.json", "release.sig"
SCHEMA = 1
#: Distinguishes a signed release from anything else signed with the same key.
KIND = "cxr-edge release"
_MAX_BYTES, _MAX_VERSION = 1 << 20, 10**12


@dataclass(frozen=True, kw_only=True)
class ReleasedFile:
    """A file of a bundle; for an artifact, with the verdict of its parity gate at export."""

    file: str
    sha256: str
    bytes: int
    verdict: Verdict | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """The signed content: a model's name, a version that only increases, every file of the bundle, and the recipe."""

    name: str
    version: int
    files: tuple[ReleasedFile, ...]
    recipe: JsonObject | None = None
    kind: str = KIND
    schema: int = SCHEMA

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


def require_valid_release(release: Release) -> None:
    """Raises ValueError, which names the invalid part."""
    if release.kind != KIND or release.schema != SCHEMA:
        raise ValueError(f"{release.kind[:60]} of schema {release.schema}, not {KIND} of schema {SCHEMA}")
    if not FILE_NAME.fullmatch(release.name):
        raise ValueError(f"the name {release.name[:60]!r}: letters, digits, dots, hyphens and underscores are allowed")
    if not 0 < release.version <= _MAX_VERSION:
        raise ValueError(f"version {release.version}: must be a whole number from 1 to {_MAX_VERSION}")
    names = [released.file for released in release.files]
    for name, released in zip(names, release.files, strict=True):
        if not FILE_NAME.fullmatch(name) or names.count(name) > 1 or not SHA256.fullmatch(released.sha256):
            raise ValueError(f"the file {name[:60]!r}")


def read_release(folder: Path) -> Release | None:
    """The release of a bundle, without checking its signature; None if there is none. Raises ArtifactError."""
    return None if not (folder / RELEASE).is_file() else _parsed(_content(folder / RELEASE), folder)


def signed_release(folder: Path, key: Path) -> Release:
    """A bundle's release, signed by the owner of a public key. The files themselves are not checked.

    Raises:
        ArtifactError: the bundle has no release, or it was signed by somebody else.
        OptionError: the key is invalid.
        MissingDependencyError: the package that checks signatures is not installed.
    """
    public = _public_key(key)
    for name in (RELEASE, SIGNATURE):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder}: not released (no {name}); its owner signs it with cxr-edge release")
    content, signature = _content(folder / RELEASE), _content(folder / SIGNATURE)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, content)
    except InvalidSignature:
        raise ArtifactError(
            f"{folder / SIGNATURE}: not a signature of {RELEASE} by the owner of {key}; take the release from its owner"
        ) from None
    return _parsed(content, folder)


def require_files(folder: Path, release: Release) -> None:
    """Raises ArtifactError if a file of a bundle is missing or differs from the one in its release."""
    for released in release.files:
        _require_file(folder, released)


def require_released(path: Path, key: Path) -> None:
    """Refuse an artifact that the owner of a public key did not release.

    Raises:
        ArtifactError: it or the manifest beside it is not released, or was changed since.
        OptionError, MissingDependencyError: as `signed_release`.
    """
    release = signed_release(path.parent, key)
    files = {released.file: released for released in release.files}
    for name in (MANIFEST, path.name):
        if name not in files:
            raise ArtifactError(f"{path}: {name} is not among the released files; take the release from its owner")
        _require_file(path.parent, files[name])


def _require_file(folder: Path, released: ReleasedFile) -> None:
    path = folder / released.file
    if not path.is_file() or path.is_symlink():
        raise ArtifactError(f"{path}: named in {RELEASE}, but missing; copy the release again")
    if path.stat().st_size != released.bytes or sha256_of(path) != released.sha256:
        raise ArtifactError(f"{path}: was changed after its release; copy the release again, or release it again")


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ModuleNotFoundError:
        raise MissingDependencyError("cryptography, which checks signatures,", "signing") from None
    try:
        key = load_pem_public_key(read_bounded(path, _MAX_BYTES))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise OptionError(f"{path}: not a public key in PEM format ({first_line(error)})") from None
    if not isinstance(key, Ed25519PublicKey):
        raise OptionError(f"{path}: not an Ed25519 public key; docs/updates.md says how to make one")
    return key


def _content(path: Path) -> bytes:
    try:
        return read_bounded(path, _MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); copy the release again") from None


def _parsed(content: bytes, folder: Path) -> Release:
    try:
        release = from_json(Release, parse_json(content))
        require_valid_release(release)
    except ValueError as error:
        raise ArtifactError(
            f"{folder / RELEASE}: not a release that this version of cxr-edge can read ({error})"
        ) from None
    return release
