"""A lock on a folder, so that only one process at a time works in it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from cxr_edge.errors import RunError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, which is created if missing, and removed at the end if empty.

    The operating system holds the lock on a file that names the holder, and releases it when the process ends for any
    reason: a file left by a killed process locks nothing.

    Raises:
        RunError: another process holds it.
    """
    created = not folder.is_dir()
    handle = _acquired(folder / NAME)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        os.truncate(handle, 0)
        os.write(handle, json.dumps(holder).encode())
        yield
    finally:
        # Unlink before releasing: a process that has already opened the file then notices that its path has changed.
        with suppress(OSError):
            (folder / NAME).unlink()
        os.close(handle)
        if created and not any(folder.iterdir()):
            # Fails if another process has just created its lock there.
            with suppress(OSError):
                folder.rmdir()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _acquired(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # The previous holder has removed the folder that it had created.
            continue
        try:
            _lock(handle)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            raise RunError(f"{path.parent}: in use by {_holder(path)}; wait for it to finish, or stop it") from None
        except FileNotFoundError:
            pass
        os.close(handle)


def _lock(handle: int) -> None:
    # Windows has a different kind of lock, and does not allow removing an open file.
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
