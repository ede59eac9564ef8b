"""The zip file of a packed bundle: equal bundles give equal bytes, and unpacking trusts nothing in it."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.artifact import MAX_ARTIFACT_BYTES
from cxr_edge.artifacts.bundle import CARD, MANIFEST, REFERENCES, listed_card, read_bundle
from cxr_edge.artifacts.cascade import SMALL_REFERENCES
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.release import RELEASE, SIGNATURE, Release, read_release, require_files
from cxr_edge.artifacts.validation import FILE_NAME
from cxr_edge.artifacts.zip_entry import UNZIPPING_ERRORS, require_small_directory
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.reference_images import checked_reference_files
from cxr_edge.files import named, replacing

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_OTHERS = (MANIFEST, REFERENCES, SMALL_REFERENCES, CARD, RELEASE, SIGNATURE)
_MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class Packed:
    """A packed bundle: the names of its files, and its release, None if it was not signed."""

    path: Path
    files: tuple[str, ...]
    release: Release | None


def pack(folder: Path, target: Path) -> Packed:
    """Write a bundle to one zip, atomically. Files are stored uncompressed, so the zlib version does not matter.

    Raises:
        ArtifactError: the bundle is damaged, or was changed after its release.
    """
    artifacts, release = read_bundle(folder), read_release(folder)
    names = [MANIFEST, *(artifact.name for artifact in artifacts), *checked_reference_files(folder)]
    if card := listed_card(folder):
        names.append(card)
    if release is not None and not (folder / SIGNATURE).is_file():
        raise ArtifactError(f"{folder}: its release was interrupted before it was signed; run cxr-edge release again")
    if release is not None:
        require_files(folder, release)
        names += [RELEASE, SIGNATURE]
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names):
            entry = zipfile.ZipInfo(name, _FIXED_DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as content, archive.open(entry, "w") as file:
                shutil.copyfileobj(content, file)
    return Packed(target, tuple(sorted(names)), release)


class Archive:
    """A packed bundle, whose directory is checked on opening; a context manager.

    Raises:
        ArtifactError: there is no such file, or it was not written by `pack`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; cxr-edge pack writes one")
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ValueError(f"{path.stat().st_size} bytes")
            with path.open("rb") as file:
                require_small_directory(file)
            self._zip = zipfile.ZipFile(path)
            self._entries = {entry.filename: entry for entry in self._zip.infolist()}
            for entry in self._zip.infolist():
                _require_plain(entry)
            if len(self._entries) < len(self._zip.infolist()):
                raise ValueError("two files with the same name")
        except (OSError, ValueError, *UNZIPPING_ERRORS) as error:
            raise self._refusal(error) from None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def unpack(self, names: Collection[str], folder: Path) -> None:
        """Write some of its files to a folder, synced to disk. Raises ArtifactError if one is damaged."""
        for name in names:
            try:
                with self._zip.open(self._entries[name]) as content, (folder / name).open("xb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
            except (ValueError, *UNZIPPING_ERRORS) as error:
                raise self._refusal(error) from None
            except OSError as error:
                raise named(error, folder / name) from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _refusal(self, error: Exception) -> ArtifactError:
        return ArtifactError(f"{self._path}: not a bundle that cxr-edge pack wrote, or a damaged one ({error})")


def _require_plain(entry: zipfile.ZipInfo) -> None:
    """Raises ValueError for anything but a stored, regular file with a name and size possible in a bundle."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    suffix = name.rpartition(".")[2]
    if not FILE_NAME.fullmatch(name) or (name not in _OTHERS and suffix not in set(ArtifactFormat)):
        raise ValueError(f"a file called {name[:60]!r}")
    if kind not in (0, stat.S_IFREG):
        raise ValueError(f"{name}: a link, or not a regular file")
    stored = entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
    if not stored or entry.flag_bits & 1 or entry.file_size > MAX_ARTIFACT_BYTES:
        raise ValueError(f"{name}: compressed, encrypted or too large")
