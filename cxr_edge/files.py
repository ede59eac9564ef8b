"""Atomic writes, so that a kill or a full disk leaves either the old content or the new; and the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cxr_edge.errors import CacheError, OptionError


def cache_folder() -> Path:
    """`$CXR_EDGE_CACHE`, or `cxr-edge` under the XDG cache folder. Raises CacheError for a user without a home."""
    if folder := os.environ.get("CXR_EDGE_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cxr-edge"
    except RuntimeError:
        raise CacheError("this user has no home folder for a cache; name a folder with CXR_EDGE_CACHE") from None


#: Marks the names of temporary files, before their suffix, and of temporary folders.
_PARTIAL = ".partial"
#: In a temporary folder, the file that the process filling it has locked.
_LOCK = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success it takes `path`'s name, on failure it is removed.

    The temporary name keeps the suffix, because several libraries choose the file format by it. For a link, its target
    is replaced. A device or a pipe, such as /dev/stdout, cannot be replaced: the content is written to it.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / f"content{path.suffix}"
            yield temporary
            with temporary.open("rb") as content, path.open("wb") as target:
                shutil.copyfileobj(content, target)
        return
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=f"{_PARTIAL}{path.suffix}")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Windows syncs only what is open for writing.
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise named(error, path) from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` to fill; on success it takes `path`'s name, on failure it is removed.

    Raises:
        OptionError: `path` already exists and is not an empty folder.
    """
    if path.resolve() == Path.cwd():
        raise OptionError(f"{path}: is the current folder, which cannot be replaced; name a new folder")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OptionError(f"{path}: already exists; name a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-", suffix=_PARTIAL)
    with temporary as name, _in_use(Path(name)):
        filled = Path(name) / path.name
        filled.mkdir()
        yield filled
        _sync_tree(filled)
        filled.replace(path)
        sync_folder(path.parent)


def named(error: OSError, path: Path) -> OSError:
    """Add a file name to an error: an error from writing to a full disk has none."""
    if error.filename is not None or error.errno is None:
        return error
    return OSError(error.errno, error.strerror, str(path))


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk: otherwise a power failure may undo a rename."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync_tree(folder: Path) -> None:
    """Sync a folder and all in it to disk: otherwise a power failure may leave a complete name with empty files."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            # Windows syncs only what is open for writing; elsewhere a copy may be read-only, as its original is.
            with path.open("r+b" if sys.platform == "win32" else "rb") as written:
                os.fsync(written.fileno())
    sync_folder(folder)


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Protect a temporary folder from `remove_partial_files`, which a kill ends."""
    with (folder / _LOCK).open("wb") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left in a folder. Call it only while holding the folder's lock (`runs.lock`).

    Temporary folders have a lock of their own, as commands may write a new folder anywhere: those in use are kept.
    """
    for path in folder.glob(f".*{_PARTIAL}*"):
        if path.is_dir() and not path.is_symlink():
            _remove_abandoned(path)
        else:
            path.unlink(missing_ok=True)


def _remove_abandoned(folder: Path) -> None:
    # Without such locks, as on Windows, an abandoned folder cannot be told from one in use.
    if sys.platform != "win32":
        import fcntl

        with suppress(FileNotFoundError, BlockingIOError), (folder / _LOCK).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically. Invalid characters from file names become escapes that are valid in JSON."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. Raises ValueError for NaN, which JSON lacks."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


#: Size limits: anything written by hand or in a spreadsheet is smaller. For options and records, and for image tables.
MAX_RECORD_BYTES, MAX_TABLE_BYTES = 16 << 20, 256 << 20


def require_bounded(path: Path, limit: int) -> int:
    """The size of a file in bytes.

    Raises:
        OSError: as `Path.stat`.
        ValueError: it has more than `limit` bytes, or is a device or a pipe, which may have no end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > limit:
        raise ValueError(f"{status.st_size} bytes, more than {limit}")
    return status.st_size


def read_bounded(path: Path, limit: int) -> bytes:
    """A file's content. Raises ValueError and OSError as `require_bounded`."""
    size = require_bounded(path, limit)
    with path.open("rb") as file:
        return file.read(size)


def read_toml(path: Path) -> Mapping[str, Any]:
    """A TOML file's content. Raises ValueError and OSError as `require_bounded`, and ValueError if it is not TOML."""
    # Imported only for the few commands that read such a file.
    import tomllib

    try:
        return tomllib.loads(read_bounded(path, MAX_RECORD_BYTES).decode())
    except RecursionError:
        raise ValueError("nested too deep") from None


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
