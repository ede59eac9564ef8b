"""The decoded images of one size and imaging rule: a memory-mapped uint8 file and an index of its rows."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from cxr_edge.data.fingerprint import THUMBNAIL, Fingerprint, fingerprint
from cxr_edge.data.store_index import StoreIndex
from cxr_edge.errors import CacheError, ImageError
from cxr_edge.files import cache_folder
from cxr_edge.imaging import decode
from cxr_edge.imaging.reading import read_bytes
from cxr_edge.imaging.rule import rule_of
from cxr_edge.processors import usable_cores

#: Images per batch that is decoded and committed; a kill loses at most one batch.
_BATCH = 256


@dataclass(frozen=True)
class DecodedImages:
    """Read-only images in the store: uint8 `[N, S, S, 1]`; indexing the first axis reads only the selected ones.

    Reading raises CacheError if the pixels do not match their `checksums` `[N]`.
    """

    stored: NDArray[np.uint8]
    rows: NDArray[np.int64]
    checksums: NDArray[np.int64]
    #: The file of pixels, for errors.
    path: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.stored.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self.stored[self.rows[index]]
        images = pixels.reshape(-1, *self.stored.shape[1:])
        for image, checksum in zip(images, np.ravel(self.checksums[index]), strict=True):
            if zlib.crc32(image) != checksum:
                raise CacheError(
                    f"{self.path}: pixels in it were changed after they were written; remove {self.path.parent}, and "
                    "the images are decoded again"
                )
        return pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.uint8, copy=False)


class Added(NamedTuple):
    """The outcome for files: the SHA-256 of each one's bytes, and, by index, why it cannot be decoded.

    A reason names its file, whose hash is empty.
    """

    digests: list[str]
    bad: dict[int, str]


class ImageStore:
    """One file of pixels and its index, in a cache folder named after the imaging rule, its version and Pillow's.

    Rows are appended, never changed. A row's pixels are on disk before the transaction that adds it to the index is
    committed, so every indexed row is complete: a kill loses only the current batch, the next process resumes from
    there, and thanks to SQLite's locks two processes can fill one store.
    """

    def __init__(self, size: int, resize: str) -> None:
        self.size, self.resize = size, resize
        rule = json.dumps([rule_of(resize).identifiers(), PIL.__version__, THUMBNAIL, "crc32"])
        self.folder = cache_folder() / f"{size}px-{resize}-{hashlib.sha256(rule.encode()).hexdigest()[:16]}"
        self._pixels, self._index = self.folder / "pixels.u8", StoreIndex(self.folder)

    def lacks(self, digests: Sequence[str]) -> list[int]:
        """The indices of the images, by SHA-256, that are not in the store."""
        rows = self._index.rows()
        return [index for index, digest in enumerate(digests) if digest not in rows]

    def add(
        self, paths: Sequence[Path], on_image: Callable[[], None] | None = None, fingerprints: bool = False
    ) -> Added:
        """Read all files and decode, in parallel, those whose content is not in the store yet.

        Args:
            paths: image files.
            on_image: called after each image.
            fingerprints: whether to store fingerprints too, for `fingerprints`; needs the imagehash package.

        Raises:
            MissingDependencyError: the reader for some files' format is not installed.
            CacheError: the cache is damaged or its disk is full; images decoded before that are kept.
        """
        known = set(self._index.rows(fingerprints))
        digests = [""] * len(paths)
        bad: dict[int, str] = {}

        def decoded(index: int) -> tuple[NDArray[np.uint8], Fingerprint | None] | None:
            try:
                content = read_bytes(paths[index])
                digest = hashlib.sha256(content).hexdigest()
                pixels = None
                if digest not in known:
                    grey = decode.open_grey(paths[index], content)
                    pixels = decode.resized(grey, self.size, self.resize)
                    mark = fingerprint(digest, grey) if fingerprints else None
            except ImageError as error:
                bad[index] = str(error)
                return None
            digests[index] = digest
            return None if pixels is None else (pixels, mark)

        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(paths), _BATCH):
                batch = range(len(paths))[start : start + _BATCH]
                fresh = {}
                for index, image in zip(batch, pool.map(decoded, batch), strict=True):
                    if image is not None:
                        fresh[digests[index]] = image
                    if on_image:
                        on_image()
                if fresh:
                    self._append(fresh)
                    known.update(fresh)
        return Added(digests, dict(sorted(bad.items())))

    def _append(self, fresh: dict[str, tuple[NDArray[np.uint8], Fingerprint | None]]) -> None:
        # Pixels without an index are useless, but not truncated: another process may still be reading them.
        with self._index.writing(when_new=lambda: self._pixels.unlink(missing_ok=True)) as connection:
            present = dict(connection.execute("SELECT sha256, row FROM images"))
            fingerprints = {
                digest: (mark.phash.to_bytes(8), mark.thumbnail.tobytes()) if mark else (None, None)
                for digest, (_, mark) in fresh.items()
            }
            new = [digest for digest in fresh if digest not in present]
            first = max(present.values(), default=-1) + 1
            self._check_length(first)
            with self._pixels.open("r+b" if first else "wb") as file:
                file.seek(first * self.size**2)
                for digest in new:
                    file.write(fresh[digest][0].tobytes())
                file.flush()
                os.fsync(file.fileno())
            connection.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?)",
                [
                    (digest, first + place, zlib.crc32(fresh[digest][0].tobytes()), *fingerprints[digest])
                    for place, digest in enumerate(new)
                ],
            )
            connection.executemany(
                "UPDATE images SET phash = ?, thumbnail = ? WHERE sha256 = ? AND phash IS NULL",
                [(*fingerprints[digest], digest) for digest in fresh if digest in present],
            )

    def fingerprints(self, digests: Sequence[str]) -> list[Fingerprint]:
        """The fingerprints of images that were added with them, in the order of `digests`. Raises CacheError."""
        with self._index.connected() as connection:
            known = {
                digest: Fingerprint(
                    digest, int.from_bytes(phash), np.frombuffer(thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL)
                )
                for digest, phash, thumbnail in connection.execute(
                    "SELECT sha256, phash, thumbnail FROM images WHERE phash IS NOT NULL"
                )
            }
        return [known[digest] for digest in digests]

    def images(self, digests: Sequence[str]) -> DecodedImages:
        """Stored images, in the order of `digests`.

        Raises:
            CacheError: the file of pixels is shorter than its index says.
        """
        rows = self._index.rows()
        row_numbers = np.array([rows[digest] for digest in digests], dtype=np.int64)
        count = max(rows.values(), default=-1) + 1
        self._check_length(count)
        stored = np.memmap(self._pixels, np.uint8, "r", shape=(count, self.size, self.size, 1))
        checksums = self._index.checksums()
        return DecodedImages(
            stored, row_numbers, np.array([checksums[row] for row in row_numbers], dtype=np.int64), self._pixels
        )

    def _check_length(self, rows: int) -> None:
        """Raises CacheError if the file of pixels has fewer rows than its index."""
        length = self._pixels.stat().st_size if self._pixels.is_file() else 0
        if length < rows * self.size**2:
            raise CacheError(
                f"{self._pixels}: {length} bytes instead of {rows * self.size**2}; remove {self.folder}, and the "
                "images are decoded again"
            )
