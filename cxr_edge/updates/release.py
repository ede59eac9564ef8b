"""`cxr-edge release`: the owner's signature on a bundle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.artifacts.bundle import MANIFEST, listed_card, read_bundle, read_manifest
from cxr_edge.artifacts.release import (
    RELEASE,
    SIGNATURE,
    Release,
    ReleasedFile,
    read_release,
    require_valid_release,
)
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import MissingDependencyError, OptionError, first_line
from cxr_edge.evaluation.reference_images import checked_reference_files
from cxr_edge.files import read_bounded, replacing, sha256_of
from cxr_edge.records import to_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: The environment variable with the password of an encrypted private key.
PASSWORD = "CXR_EDGE_KEY_PASSWORD"


def release(folder: Path, key: Path, name: str, version: int) -> Release:
    """Sign a bundle: write `release.json` for its files in their current state, and `release.sig`.

    Args:
        folder: the bundle.
        key: a private Ed25519 key in PEM format; its password, if any, is in `PASSWORD`.
        name: of the model.
        version: higher than that of any earlier release of the model.

    Raises:
        ArtifactError: the bundle is damaged.
        OptionError: the key, name or version is invalid, or the bundle already has a release of the same or a higher
            version.
        MissingDependencyError: the package for signatures is not installed.
    """
    private = _private_key(key)
    released = release_of(folder, name, version)
    before = read_release(folder)
    if before is not None and before.name == name and before.version >= version and before != released:
        raise OptionError(
            f"--version {version}: {folder} is released as version {before.version}; use {before.version + 1} or higher"
        )
    content = (json.dumps(to_json(released), indent=2, ensure_ascii=False) + "\n").encode()
    # Remove the old signature first: then a kill leaves an unreleased bundle, not one that looks forged.
    (folder / SIGNATURE).unlink(missing_ok=True)
    # It may be a link, through which the new one would be written elsewhere.
    (folder / RELEASE).unlink(missing_ok=True)
    for file, data in ((RELEASE, content), (SIGNATURE, private.sign(content))):
        with replacing(folder / file) as temporary:
            temporary.write_bytes(data)
    return released


def release_of(folder: Path, name: str, version: int) -> Release:
    """The content of a release of a bundle. Raises ArtifactError, OptionError as `release`."""
    artifacts = read_bundle(folder)
    verdicts: dict[str, Verdict | None] = {artifact.name: artifact.verdict for artifact in artifacts}
    shared, card = read_manifest(folder).shared, listed_card(folder)
    names = [MANIFEST, *checked_reference_files(folder), *([card] if card else []), *verdicts]
    files = [
        ReleasedFile(
            file=file,
            sha256=sha256_of(folder / file),
            bytes=(folder / file).stat().st_size,
            verdict=verdicts.get(file),
        )
        for file in sorted(names)
    ]
    released = Release(name=name, version=version, files=tuple(files), recipe=shared.recipe)
    try:
        require_valid_release(released)
    except ValueError as error:
        raise OptionError(str(error)) from None
    return released


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError:
        raise MissingDependencyError("cryptography, which signs,", "signing") from None
    password = os.environ.get(PASSWORD)
    try:
        key = load_pem_private_key(read_bounded(path, 1 << 20), password.encode() if password else None)
    except TypeError:
        raise OptionError(f"{path}: {PASSWORD} must be set if the key has a password, and only then") from None
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise OptionError(f"{path}: not a private key in PEM format ({first_line(error)})") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise OptionError(f"{path}: not an Ed25519 private key; docs/updates.md says how to make one")
    return key
