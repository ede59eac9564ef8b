"""`cxr-edge install` and `rollback`: a device always has one whole bundle in force, whenever its power goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.artifacts.bundle import MANIFEST, read_bundle
from cxr_edge.artifacts.installation import BUNDLES, Installation, read_installation, write_installation
from cxr_edge.artifacts.release import (
    RELEASE,
    SIGNATURE,
    Release,
    read_release,
    require_files,
    signed_release,
)
from cxr_edge.errors import ArtifactError, CxrEdgeError
from cxr_edge.files import sha256_of, sync_folder
from cxr_edge.runs.lock import locked
from cxr_edge.updates.archive import Archive
from cxr_edge.updates.proof import Proof, prove

_INCOMING = ".incoming-"


@dataclass(frozen=True)
class Installed:
    """What is in force now.

    `release` is None for a bundle that nobody signed; `proof` None where the very bundle was in force already;
    `previous` is what `rollback` returns to.
    """

    folder: Path
    release: Release | None
    previous: Path | None
    proof: Proof | None


def install(
    archive: Path,
    into: Path,
    key: Path | None = None,
    allow_downgrade: bool = False,
    max_p90_ms: float | None = None,
) -> Installed:
    """Put a packed bundle into force on this device, or leave everything as it is.

    The order: signature, version, hashes and schema, the reference outputs replayed on this device's own runtimes, and
    then the swap, which is the writing of one small file. Bundles but the new one and the one before are removed.

    Args:
        archive: what `cxr-edge pack` wrote.
        into: the folder that holds what is installed; made where there is none.
        key: the file of the owner's public key; None to take what nobody signed.
        allow_downgrade: take an older version than the highest seen, another model, or one without a version.
        max_p90_ms: limit of the 90th percentile of one inference; None for none.

    Raises:
        ArtifactError: it is damaged, not signed by the owner, or older than what this device has seen.
        GateError: this device computes something else, or is too slow.
        RunError: another process installs into the folder.
        OptionError, MissingDependencyError.
    """
    with Archive(archive) as content, locked(into):
        state = read_installation(into)
        _clear(into, state)
        with tempfile.TemporaryDirectory(dir=into, prefix=_INCOMING) as temporary:
            incoming = Path(temporary) / "bundle"
            incoming.mkdir()
            release = _unpacked(content, incoming, key, lambda release: _require_newer(release, state, allow_downgrade))
            name = f"{release.version if release else 0}-{sha256_of(incoming / MANIFEST)[:12]}"
            if state is not None and state.active.rpartition(".")[0] == name and _is_whole(into, state.active, key):
                return _installed(into, state, release, None)
            proof = prove(incoming, max_p90_ms)
            target = _unused(into / BUNDLES, name)
            target.parent.mkdir(exist_ok=True)
            sync_folder(incoming)
            incoming.rename(target)
            sync_folder(target.parent)
            sync_folder(into)
        state = _with(state, target.name, release)
        write_installation(into, state)
        _clear(into, state)
        return _installed(into, state, release, proof)


def rollback(into: Path, key: Path | None = None) -> Installed:
    """Put the bundle that was in force before into force again; the one that is now can be returned to likewise.

    Raises:
        ArtifactError: nothing is installed, there is none before, or it is damaged, or not signed by the owner.
        RunError: another process installs into the folder.
    """
    with locked(into):
        state = read_installation(into)
        if state is None:
            raise ArtifactError(f"{into}: nothing is installed in it; cxr-edge install puts a bundle there")
        if state.previous is None:
            raise ArtifactError(f"{into}: has no bundle to return to, {state.active} is the only one")
        release = _require_whole(into / BUNDLES / state.previous, key)
        state = replace(state, active=state.previous, previous=state.active)
        write_installation(into, state)
        return _installed(into, state, release, None)


def _unpacked(
    archive: Archive, folder: Path, key: Path | None, require_newer: Callable[[Release | None], None]
) -> Release | None:
    """Unpack a bundle; nothing but its release before that is known to be the owner's, and new."""
    first = [name for name in (RELEASE, SIGNATURE) if name in archive.names]
    archive.unpack(first, folder)
    release = read_release(folder) if key is None else signed_release(folder, key)
    require_newer(release)
    others = [name for name in archive.names if name not in first]
    if release is not None and set(others) != {own.file for own in release.files}:
        raise ArtifactError(f"the files packed are not those released: {', '.join(sorted(others))}; pack it again")
    archive.unpack(others, folder)
    _require_whole(folder, key)
    return release


def _require_newer(release: Release | None, state: Installation | None, allow_downgrade: bool) -> None:
    if state is None or not state.highest or allow_downgrade:
        return
    seen = ", ".join(f"{name}, version {version}" for name, version in sorted(state.highest.items()))
    way_out = f"this device has seen {seen}; --allow-downgrade takes it all the same"
    if release is None:
        raise ArtifactError(f"the bundle has no release, and so no version: {way_out}")
    if release.name not in state.highest:
        raise ArtifactError(f"the bundle is {release}, another model: {way_out}")
    if release.version < state.highest[release.name]:
        raise ArtifactError(f"the bundle is {release}, an older one: {way_out}")


def _require_whole(folder: Path, key: Path | None) -> Release | None:
    """The release of a bundle whose files all are what they were. Raises ArtifactError."""
    release = read_release(folder) if key is None else signed_release(folder, key)
    if release is not None:
        require_files(folder, release)
    read_bundle(folder)
    return release


def _is_whole(into: Path, name: str, key: Path | None) -> bool:
    try:
        _require_whole(into / BUNDLES / name, key)
    except CxrEdgeError:
        return False
    return True


def _unused(folder: Path, name: str) -> Path:
    """A name that no folder has: what is there is never written to again."""
    number = 1
    while (folder / f"{name}.{number}").exists():
        number += 1
    return folder / f"{name}.{number}"


def _with(state: Installation | None, active: str, release: Release | None) -> Installation:
    """The state with a new bundle in force; a damaged one that is replaced by the same is not what to return to."""
    highest = dict(state.highest) if state else {}
    if release is not None:
        highest[release.name] = max(release.version, highest.get(release.name, 0))
    previous = None if state is None else state.active
    if state is not None and state.active.rpartition(".")[0] == active.rpartition(".")[0]:
        previous = state.previous
    return Installation(active=active, previous=previous, highest=highest)


def _clear(into: Path, state: Installation | None) -> None:
    """Remove what an interrupted installation left, and bundles that nothing returns to."""
    kept = {state.active, state.previous} if state else set()
    left = [*into.glob(f"{_INCOMING}*"), *(path for path in (into / BUNDLES).glob("*") if path.name not in kept)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)


def _installed(into: Path, state: Installation, release: Release | None, proof: Proof | None) -> Installed:
    previous = None if state.previous is None else into / BUNDLES / state.previous
    return Installed(into / BUNDLES / state.active, release, previous, proof)
