"""From file to answer: decode, resize, inference and the total, and a whole folder at once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.data.layouts import image_files
from cxr_edge.errors import DataError
from cxr_edge.imaging.decode import open_grey
from cxr_edge.imaging.prefetch import read_ahead
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.runtimes.base import Session
from cxr_edge.runtimes.loaded import picture_for

#: Widths of the files drawn if the user names none, from a scaled-down copy to a detector's full resolution.
_SIZES = (300, 600, 1024, 2500)
_DRAWN = 1024


def write_sample_files(folder: Path) -> list[Path]:
    """Phantoms in the forms that hospitals provide X-rays: PNG and JPEG of 300 to 2500 px."""
    files = []
    for index, size in enumerate(_SIZES):
        phantom = Image.fromarray(draw_phantom(LABELS[index % len(LABELS)], index, min(size, _DRAWN)).pixels)
        for suffix in ("png", "jpg"):
            path = folder / f"phantom-{size}.{suffix}"
            phantom.resize((size, size), Image.Resampling.BICUBIC).save(path)
            files.append(path)
    return files


class ImageSource(StrEnum):
    """Whose files were classified."""

    FILES = "files"
    PHANTOMS = "phantoms"


@dataclass(frozen=True)
class ImageFiles:
    """`source` says whether they are the user's, or phantoms drawn for the benchmark."""

    paths: tuple[Path, ...]
    source: ImageSource

    def thinned(self, count: int) -> ImageFiles:
        """At most `count` of them, evenly spread."""
        step = max(1, len(self.paths) / count)
        return ImageFiles(
            tuple(self.paths[int(index * step)] for index in range(min(count, len(self.paths)))), self.source
        )


@contextmanager
def files_to_classify(paths: Sequence[Path]) -> Iterator[ImageFiles]:
    """The image files under the given files and folders; phantoms if there are no paths.

    Raises:
        DataError: there are no image files.
    """
    files = [file for path in paths for file in (image_files(path) if path.is_dir() else [path])]
    if paths and not files:
        raise DataError(f"{paths[0]}: no image files in it")
    if files:
        yield ImageFiles(tuple(files), ImageSource.FILES)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield ImageFiles(tuple(write_sample_files(Path(folder))), ImageSource.PHANTOMS)


@dataclass(frozen=True)
class Stage:
    """Milliseconds of one stage: decode, resize, inference, or the total from the file's path to probabilities."""

    stage: str
    p50_ms: float
    p90_ms: float
    worst_ms: float


@dataclass(frozen=True)
class FileTime:
    """Median milliseconds of one file, by its name."""

    file: str
    bytes: int
    decode_ms: float
    whole_ms: float


@dataclass(frozen=True)
class FolderRate:
    """Images per second from files to answers, those of inference alone in the same run, and the ratio of the two."""

    images_per_second: float
    inference_per_second: float
    share: float


@dataclass(frozen=True, kw_only=True)
class FileTimes:
    """Times from file to answer; `files` is the number of files."""

    files: int
    stages: tuple[Stage, ...]
    by_file: tuple[FileTime, ...]
    folder: FolderRate


def _stage(name: str, seconds: Sequence[float]) -> Stage:
    milliseconds = np.array(seconds) * 1000
    p50, p90 = np.percentile(milliseconds, [50, 90])
    return Stage(name, float(p50), float(p90), float(milliseconds.max()))


@dataclass(frozen=True)
class _Round:
    """Seconds of each stage of one file."""

    decode: float
    resize: float
    inference: float

    @property
    def whole(self) -> float:
        return self.decode + self.resize + self.inference


def _timed(path: Path, session: Session, artifact: Artifact) -> _Round:
    start = time.perf_counter()
    grey = open_grey(path)
    read = time.perf_counter()
    pixels = picture_for(artifact, grey)
    ready = time.perf_counter()
    session.run(pixels)
    return _Round(read - start, ready - read, time.perf_counter() - ready)


def measure_files(
    files: Sequence[Path],
    session: Session,
    artifact: Artifact,
    repeats: int,
    cores: int,
    seconds: float,
    on_file: Callable[[], None] | None = None,
) -> FileTimes:
    """Time each stage of each file in turn, then all files together as `predict` classifies them.

    Args:
        files: image files; in the system's file cache after the first round, which is not counted.
        session: the artifact's.
        artifact: determines how images are resized; for a cascade, they are resized for both models.
        repeats: rounds over the files.
        cores: decoding threads of the folder run.
        seconds: minimum duration of the folder run, which alternates with inference alone.
        on_file: called after each file of each round.

    Raises:
        ImageError: a file cannot be decoded.
    """
    rounds: dict[Path, list[_Round]] = {path: [] for path in files}
    for number in range(repeats + 1):
        for path in files:
            timed = _timed(path, session, artifact)
            if number:
                rounds[path].append(timed)
            if on_file:
                on_file()
    counted = [timed for of_file in rounds.values() for timed in of_file]
    return FileTimes(
        files=len(files),
        stages=(
            _stage("decode", [timed.decode for timed in counted]),
            _stage("resize", [timed.resize for timed in counted]),
            _stage("inference", [timed.inference for timed in counted]),
            _stage("whole", [timed.whole for timed in counted]),
        ),
        by_file=tuple(
            FileTime(
                path.name,
                path.stat().st_size,
                1000 * float(np.median([timed.decode for timed in of_file])),
                1000 * float(np.median([timed.whole for timed in of_file])),
            )
            for path, of_file in rounds.items()
        ),
        folder=_folder(files, session, artifact, cores, seconds),
    )


def _folder(files: Sequence[Path], session: Session, artifact: Artifact, cores: int, seconds: float) -> FolderRate:
    def read(path: Path) -> NDArray[np.uint8]:
        return picture_for(artifact, open_grey(path))

    pixels = list(read_ahead(read, files, cores))
    whole, alone = 0.0, 0.0
    count = 0
    # Alternating, so that a drifting machine is unfair to neither.
    while whole + alone < seconds or not count:
        start = time.perf_counter()
        for image in read_ahead(read, files, cores):
            session.run(image)
        middle = time.perf_counter()
        for image in pixels:
            session.run(image)
        whole, alone = whole + middle - start, alone + time.perf_counter() - middle
        count += len(files)
    return FolderRate(count / whole, count / alone, alone / whole)
