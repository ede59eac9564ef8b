"""Open a zip from an untrusted source, without a long list of files, or unpacking more of one than is read."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from typing import IO

#: What a forged zip raises besides ValueError and OSError, due to its structure, streams, methods or encryption.
UNZIPPING_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
#: A bundle has eight artifacts, rarely more.
_MAX_FILES, _MAX_DIRECTORY = 64, 64 << 10
#: The end record of a zip without a comment, and the ZIP64 locator before it in a zip over 4 GiB.
_END, _END_BYTES, _LARGE_END, _LARGE_END_BYTES = b"PK\x05\x06", 22, b"PK\x06\x07", 20


def require_small_directory(file: IO[bytes]) -> None:
    """Raises ValueError, before it is read, for a zip whose list of files could exhaust the memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_BYTES - _LARGE_END_BYTES))
    tail = file.read()
    end, before = tail[-_END_BYTES:], tail[:-_END_BYTES]
    if len(end) < _END_BYTES or not end.startswith(_END) or before.startswith(_LARGE_END):
        raise ValueError("its end is not that of a small zip")
    files, directory = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if files > _MAX_FILES or directory > _MAX_DIRECTORY:
        raise ValueError(f"a zip of {files} files, in a list of {directory} bytes")


def open_bounded(archive: zipfile.ZipFile, name: str, limit: int) -> IO[bytes]:
    """A file of an archive. Always read a stated number of bytes from it: only then is unpacking bounded.

    Raises:
        KeyError: there is no such file.
        ValueError: it is larger than `limit` bytes, or compressed by a method that zipfile unpacks without a bound.
    """
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed by a method that no artifact uses")
    if entry.file_size > limit:
        raise ValueError(f"{name} unpacks to {entry.file_size} bytes")
    return archive.open(entry)
