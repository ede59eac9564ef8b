"""Loss of power, simulated: at the n-th change of a folder everything stops, and what was not synced is lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHANGES = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.remove",
    "os.chmod",
    "os.truncate",
    "os.symlink",
    "os.link",
}
_WRITING = os.O_WRONLY | os.O_RDWR


class PowerLossError(BaseException):
    """No handler of ours catches it, and nothing after it changes the folder any more."""


class Power:
    """Counts the changes below a folder and what is synced, and cuts the power before one of them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._synced = str(folder), set[int]()
        self._left: int | None = None
        self.changes, self.is_off, self._is_watching = 0, False, False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_watching or event not in _CHANGES:
            return
        path, writes = arguments[0], event != "open" or bool((arguments[2] or 0) & _WRITING)
        if writes and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder):
            self._count()

    def _count(self) -> None:
        self.changes += 1
        if self._left is not None and self.changes > self._left:
            self.is_off = True
            raise PowerLossError

    @contextmanager
    def lost_after(self, changes: int | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Let so many changes happen in the body, all of them where None; then lose what was never synced."""
        real = os.fsync

        def fsync(handle: int) -> None:
            if self.is_off:
                raise PowerLossError
            self._count()
            real(handle)
            self._synced.add(os.fstat(handle).st_ino)

        before = {path.stat().st_ino for path in Path(self._folder).rglob("*")}
        self.changes, self.is_off, self._left = 0, False, changes
        self._synced.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            self._is_watching = True
            try:
                yield
            except PowerLossError:
                pass
            finally:
                self._is_watching = False
        if self.is_off:
            self._end_process()
            for path in Path(self._folder).rglob("*"):
                if path.is_file() and path.stat().st_ino not in before | self._synced:
                    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def _end_process(self) -> None:
        """Close what is open below the folder, as the end of the process would: locks are held until then."""
        for link in Path("/proc/self/fd").iterdir():
            try:
                if os.readlink(link).startswith(self._folder):
                    os.close(int(link.name))
            except OSError:
                continue
