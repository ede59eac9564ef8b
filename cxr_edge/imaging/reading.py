"""Read the bytes of an image file: only from regular files, and no more than a picture can need."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from cxr_edge.errors import ImageError

#: Largest file to read: 80 million pixels of 24 bits, uncompressed, with room for a header.
MAX_BYTES = 256 * 2**20


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe without a writer would block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; a device may have no end.

    Raises:
        ImageError: the file does not exist, cannot be opened, is not a regular file, or is too large.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise ImageError(f"{path}: cannot be read ({reason})") from None
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_BYTES:
        return file
    file.close()
    if stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: refused, {status.st_size >> 20} MiB are too much for an X-ray")
    raise ImageError(f"{path}: not a regular file")


def read_bytes(path: Path | str) -> bytes:
    """A file's content, at most `MAX_BYTES`. Raises ImageError as `open_regular`."""
    with open_regular(path) as file:
        try:
            return file.read(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from None
