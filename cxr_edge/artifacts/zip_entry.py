"""Open a file in a zip from an untrusted source, without unpacking more of it than is read."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from typing import IO

#: What a forged zip raises besides ValueError and OSError, due to its structure, streams, methods or encryption.
UNZIPPING_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


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
