"""`cxr-edge install` and `rollback`: a device always has one complete active bundle, even if its power fails."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.artifacts.bundle import MANIFEST, listed_card, read_bundle
from cxr_edge.artifacts.installation import BUNDLES, Installation, read_installation, write_installation
from cxr_edge.artifacts.release import (
    RELEASE,
    SIGNATURE,
    Release,
    read_release,
    require_files,
    signed_release,
)
from cxr_edge.errors import ArtifactError, CxrEdgeError, OptionError
from cxr_edge.files import sha256_of, sync_folder
from cxr_edge.runs.lock import locked
from cxr_edge.updates.archive import Archive
from cxr_edge.updates.proof import Proof, prove, required_p90_ms

_INCOMING = ".incoming-"
#: The names of the folders made here: version, hash of the manifest, number.
_INSTALLED = re.compile(r"\d{1,19}-[0-9a-f]{12}\.\d+")


@dataclass(frozen=True)
class Installed:
    """The state after an installation or a rollback; `folder` is the active bundle.

    `release` is None for an unsigned bundle; `proof` is None if this bundle was already active; `previous` is what
    `rollback` returns to.
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
    """Make a packed bundle the active one on this device, or leave everything unchanged.

    The order: check signature, version, hashes and schema, replay the reference outputs on this device's own runtimes,
    and then swap by writing one small file. All bundles except the new and the previous one are removed. For a bundle
    that is active already, only a limit on the latency is checked.

    Args:
        archive: a file written by `cxr-edge pack`.
        into: the folder of installed bundles; created if missing.
        key: the file with the owner's public key; None to accept unsigned bundles.
        allow_downgrade: accept a version older than the highest seen, another model, or one without a version.
        max_p90_ms: limit on the 90th percentile of the inference time; None for no limit.

    Raises:
        ArtifactError: it is damaged, not signed by the owner, or older than a version this device has seen.
        GateError: this device computes something different, or is too slow.
        RunError: another process installs into the folder.
        OptionError, MissingDependencyError.
    """
    if max_p90_ms is not None and not 0 < max_p90_ms < math.inf:
        raise OptionError(f"--max-p90 {max_p90_ms:g}: must be a number of milliseconds above 0")
    with Archive(archive) as content, locked(into):
        state = read_installation(into)
        _clear(into, state)
        with tempfile.TemporaryDirectory(dir=into, prefix=_INCOMING) as temporary:
            incoming = Path(temporary) / "bundle"
            incoming.mkdir()
            with _named_as(archive, incoming):
                release = _unpacked(
                    content, incoming, key, lambda release: _require_newer(release, state, allow_downgrade)
                )
            name = f"{release.version if release else 0}-{sha256_of(incoming / MANIFEST)[:12]}"
            if state is not None and state.active.rpartition(".")[0] == name and _is_whole(into, state.active, key):
                if max_p90_ms is not None:
                    required_p90_ms(into / BUNDLES / state.active, max_p90_ms, "it was active already, and stays so")
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
    """Reactivate the previous bundle; a second rollback returns to the current one.

    Raises:
        ArtifactError: nothing is installed, there is no previous bundle, or it is damaged or not signed by the owner.
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


@contextmanager
def _named_as(archive: Path, unpacked: Path) -> Iterator[None]:
    """Make errors name the user's file instead of the temporary folder."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(str(error).replace(str(unpacked), str(archive))) from None


def _unpacked(
    archive: Archive, folder: Path, key: Path | None, require_newer: Callable[[Release | None], None]
) -> Release | None:
    """Unpack a bundle: first its release, and the other files once that is known to be the owner's and new."""
    first = [name for name in (RELEASE, SIGNATURE) if name in archive.names]
    archive.unpack(first, folder)
    release = read_release(folder) if key is None else signed_release(folder, key)
    require_newer(release)
    others = [name for name in archive.names if name not in first]
    if release is not None and set(others) != {released.file for released in release.files}:
        raise ArtifactError(f"the files packed are not those released: {', '.join(sorted(others))}; pack it again")
    archive.unpack(others, folder)
    _require_whole(folder, key)
    return release


def _require_newer(release: Release | None, state: Installation | None, allow_downgrade: bool) -> None:
    if state is None or not state.highest or allow_downgrade:
        return
    seen = ", ".join(f"{name}, version {version}" for name, version in sorted(state.highest.items()))
    remedy = f"this device has seen {seen}; --allow-downgrade accepts it anyway"
    if release is None:
        raise ArtifactError(f"the bundle has no release, and so no version: {remedy}")
    if release.name not in state.highest:
        raise ArtifactError(f"the bundle is {release}, another model: {remedy}")
    if release.version < state.highest[release.name]:
        raise ArtifactError(f"the bundle is {release}, an older one: {remedy}")


def _require_whole(folder: Path, key: Path | None) -> Release | None:
    """The release of a bundle, after checking that no file has changed. Raises ArtifactError."""
    release = read_release(folder) if key is None else signed_release(folder, key)
    if release is not None:
        require_files(folder, release)
    read_bundle(folder)
    listed_card(folder)
    return release


def _is_whole(into: Path, name: str, key: Path | None) -> bool:
    try:
        _require_whole(into / BUNDLES / name, key)
    except CxrEdgeError:
        return False
    return True


def _unused(folder: Path, name: str) -> Path:
    """An unused folder name: existing folders are never written to again."""
    number = 1
    while (folder / f"{name}.{number}").exists():
        number += 1
    return folder / f"{name}.{number}"


def _with(state: Installation | None, active: str, release: Release | None) -> Installation:
    """The state with a new active bundle; a damaged bundle that it replaces with the same content is not `previous`."""
    highest = dict(state.highest) if state else {}
    if release is not None:
        highest[release.name] = max(release.version, highest.get(release.name, 0))
    previous = None if state is None else state.active
    if state is not None and state.active.rpartition(".")[0] == active.rpartition(".")[0]:
        previous = state.previous
    return Installation(active=active, previous=previous, highest=highest)


def _clear(into: Path, state: Installation | None) -> None:
    """Remove leftovers of an interrupted installation, and installed bundles that nothing returns to.

    Without a record, which may have been lost, no bundle is removed; neither is ever a folder of the user's own.
    """
    left = list(into.glob(f"{_INCOMING}*"))
    if state is not None:
        installed = (path for path in (into / BUNDLES).glob("*") if _INSTALLED.fullmatch(path.name))
        left += [path for path in installed if path.name not in (state.active, state.previous)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)


def _installed(into: Path, state: Installation, release: Release | None, proof: Proof | None) -> Installed:
    previous = None if state.previous is None else into / BUNDLES / state.previous
    return Installed(into / BUNDLES / state.active, release, previous, proof)
