"""The SQLite index of the cache of decoded images: which image each row of the file of pixels holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr_edge.errors import CacheError

#: Seconds that one process waits for another to commit a batch.
_PATIENCE = 120.0
_TABLE = """
CREATE TABLE images (
  sha256 TEXT PRIMARY KEY, row INTEGER NOT NULL UNIQUE, crc32 INTEGER NOT NULL, phash BLOB, thumbnail BLOB
) WITHOUT ROWID
"""


class StoreIndex:
    """Row, checksum of the pixels, and optionally fingerprint of each image, by the SHA-256 of its file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "index.sqlite"

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """A connection without implicit transactions. Raises CacheError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.file, timeout=_PATIENCE, isolation_level=None)
            try:
                yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"{self.folder}: the cache of decoded images cannot be used ({error}); remove this folder if it is "
                "damaged, make room if its disk is full, or name another place with CXR_EDGE_CACHE"
            ) from None

    @contextmanager
    def writing(self, when_new: Callable[[], None]) -> Iterator[sqlite3.Connection]:
        """An exclusive write transaction, in which the table exists; `when_new` is called if it had to be created."""
        with self.connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    connection.execute(_TABLE)
                    when_new()
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def rows(self, fingerprinted: bool = False) -> dict[str, int]:
        """Row of each stored image, by SHA-256; optionally only of those with a fingerprint."""
        if not self.file.is_file():
            return {}
        with self.connected() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                return {}
            where = "WHERE phash IS NOT NULL" if fingerprinted else ""
            return dict(connection.execute(f"SELECT sha256, row FROM images {where}"))

    def checksums(self) -> dict[int, int]:
        """CRC-32 of the pixels of each row."""
        with self.connected() as connection:
            return dict(connection.execute("SELECT row, crc32 FROM images"))
