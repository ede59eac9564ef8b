"""Classify each image that appears in a folder and append one JSON line about it, until SIGTERM.

cxr_watch.py FOLDER RESULTS.jsonl --bundle DIR
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cxr_edge import (
    NOTICE,
    ArtifactError,
    Classifier,
    CxrEdgeError,
    DataError,
    MissingDependencyError,
    ProviderError,
)

#: Suffixes that copying and downloading programs use until a file is complete.
_UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", "~")

#: An image with which the service ended this often gets an error, once another one shows that the runtime works.
MOST_ATTEMPTS = 3

#: A line of the results, as JSON; readers ignore keys that they do not know.
Row = dict[str, Any]


def log(line: str) -> None:
    """Write a line to the journal. Control characters, which a file name may contain, are escaped."""
    escaped = (each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in line)
    print("".join(escaped), file=sys.stderr, flush=True)


class Version(NamedTuple):
    """One state of a file: rewritten under the same name, it is another version and gets another line."""

    file: str
    bytes: int
    modified_ns: int


class Inbox:
    """The watched folder. It is polled, because network file systems do not report what others write."""

    def __init__(self, folder: Path, settle: float) -> None:
        self._folder = folder
        self._settle = settle
        self._first_seen: dict[Version, float] = {}

    def settled(self) -> list[Version]:
        """The files that have kept size and time for `settle` seconds, the oldest first. Raises OSError."""
        # A Raspberry Pi starts with a wrong clock, and so file times are compared with each other only.
        now = time.monotonic()
        first_seen = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                    continue
                try:
                    if not entry.is_file(follow_symlinks=False):
                        continue
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                version = Version(entry.name, status.st_size, status.st_mtime_ns)
                first_seen[version] = self._first_seen.get(version, now)
        self._first_seen = first_seen
        settled = [version for version, since in first_seen.items() if now - since >= self._settle]
        return sorted(settled, key=lambda version: (version.modified_ns, version.file))


class Attempts:
    """How often the service ended, without a stop signal, while it classified an image; kept for the next start.

    Otherwise one image that crashes an accelerator, or this process, would be read first at each restart, and those
    after it never.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[Version, int] = {}
        try:
            for *version, count in json.loads(path.read_bytes()):
                self._counts[Version(*version)] = int(count)
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            log(f"{path}: damaged; ignored")

    def of(self, version: Version) -> int:
        """The number of failed attempts."""
        return self._counts.get(version, 0)

    def begin(self, version: Version) -> None:
        """Count an attempt as failed until `end`. Raises OSError."""
        self._counts[version] = self.of(version) + 1
        self._write()

    def end(self, version: Version) -> None:
        """Forget the attempts. Raises OSError."""
        del self._counts[version]
        self._write()

    def _write(self) -> None:
        """Not synced: only a power failure could lose it, which is no fault of an image."""
        temporary = self._path.with_name(f"{self._path.name}.new")
        temporary.write_text(json.dumps([[*version, count] for version, count in self._counts.items()]), "ascii")
        temporary.replace(self._path)


class Results:
    """The file of JSON lines, which is also the memory of what was classified before a restart."""

    def __init__(self, path: Path) -> None:
        """Open the file or create it. Raises DataError if another process writes to it, and OSError."""
        self.done: set[Version] = set()
        self.attempts = Attempts(path.with_name(f"{path.name}.attempts"))
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{path}: another process writes to it") from None
        self._file.seek(0)
        line = b"\n"
        for number, line in enumerate(self._file, 1):
            try:
                row = json.loads(line)
                self.done.add(Version(row["file"], row["bytes"], row["modified_ns"]))
            except (ValueError, KeyError, TypeError):
                log(f"{path}: line {number} is no result, or half of one; skipped")
        # A line cut short by a power failure must not swallow the next one.
        if not line.endswith(b"\n"):
            self._file.write(b"\n")
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def append(self, version: Version, row: Row) -> None:
        """Write one line, which is on the disk when this returns. Raises OSError."""
        # ASCII: a file name may hold bytes that are not UTF-8.
        line = json.dumps({**version._asdict(), **row}, allow_nan=False) + "\n"
        self._file.write(line.encode("ascii"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done.add(version)


def answer(classifier: Classifier, path: Path) -> Row:
    """What `cxr-edge predict` answers about an image: `label`, `decision` where the artifact has an operating point,
    `probabilities` in the order of `labels`, `warnings`, and of a cascade `answered_by`, small or full."""
    (prediction,) = classifier.predict(path)
    decision = {} if prediction.decision is None else {"decision": prediction.decision}
    return {
        "label": prediction.label,
        **decision,
        "probabilities": list(prediction.probabilities),
        "labels": list(classifier.labels),
        "warnings": list(prediction.warnings),
        **({} if prediction.answered_by is None else {"answered_by": prediction.answered_by}),
    }


class StopSignal:
    """SIGTERM or SIGINT, which interrupts no image.

    Blocking them would not be enough: a thread started earlier, such as NumPy's on its import, does not block them, and
    the process would end in the middle of an image.
    """

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)

    def came(self, seconds: float) -> bool:
        """Whether one has come, or comes within this many seconds."""
        return bool(select.select([self._reader], [], [], seconds)[0])


def watch(
    folder: Path, inbox: Inbox, results: Results, classifier: Classifier, interval: float, stop: StopSignal
) -> None:
    """Classify new files until a stop signal comes.

    Raises:
        ProviderError, ArtifactError, MemoryError: the runtime failed, perhaps not because of the image, which is tried
            again after a restart.
        OSError: the folder or the results file is gone.
    """
    artifact, attempts = classifier.artifact, results.attempts
    unreadable: set[Version] = set()
    waiting: set[Version] = set()
    works = False
    while not stop.came(interval):
        # Those with which the service ended come last.
        for version in sorted(inbox.settled(), key=attempts.of):
            if version in results.done or version in waiting:
                continue
            path = folder / version.file
            # Its permissions may change without its size or time.
            if not os.access(path, os.R_OK):
                if path.exists() and version not in unreadable:
                    unreadable.add(version)
                    log(f"{path}: this user may not read it; it is classified once it can be read")
                continue
            row: Row = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "artifact": artifact.name,
                "sha256": artifact.sha256,
            }
            failed = attempts.of(version)
            attempts.begin(version)
            try:
                if failed >= MOST_ATTEMPTS and works:
                    raise DataError(f"{path}: the service ended {failed} times while it classified this image")
                row.update(answer(classifier, path))
                works = True
            except (ProviderError, ArtifactError, MemoryError):
                raise
            except MissingDependencyError as error:
                attempts.end(version)
                waiting.add(version)
                log(f"{error}; it is classified once the service is restarted after that")
                continue
            except Exception as error:  # a bad file must not stop the service, whatever a decoder raises
                # Removed meanwhile: no fault of the file.
                if not os.access(path, os.R_OK):
                    attempts.end(version)
                    continue
                row["error"] = str(error) or type(error).__name__
                log(row["error"])
            results.append(version, row)
            attempts.end(version)
            if stop.came(0):
                return


def main() -> int:
    """Parse the command line and watch; the exit status."""
    parser = argparse.ArgumentParser(description="Classify each image that appears in a folder.", epilog=NOTICE)
    parser.add_argument("folder", type=Path, help="the folder to watch; nothing in it is changed")
    parser.add_argument("results", type=Path, help="the file of JSON lines to append to; not in the watched folder")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", type=Path, metavar="DIR", help="its best artifact is used")
    model.add_argument("--artifact", type=Path, metavar="FILE", help="a .tflite or .onnx file")
    parser.add_argument("--settle", type=float, default=2.0, metavar="SECONDS", help="unchanged this long, it is read")
    parser.add_argument(
        "--runtime", default="auto", metavar="NAME", help="as cxr-edge devices lists it; default: the fastest"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of one inference; default: all cores")
    options = parser.parse_args()
    if not 0.1 <= options.settle <= 3600:
        parser.error("--settle: from 0.1 to 3600 seconds")
    if options.results.resolve().parent == options.folder.resolve():
        parser.error("the results file must not lie in the watched folder")
    stop = StopSignal()
    try:
        classifier = Classifier.open(options.artifact or options.bundle, options.runtime, options.threads)
        results = Results(options.results)
        ready = f"{classifier.artifact.path} on {classifier.runtime.title}: ready"
        for line in (NOTICE, *classifier.warnings, classifier.selection_note, ready):
            if line is not None:
                log(line)
        watch(options.folder, Inbox(options.folder, options.settle), results, classifier, options.settle / 2, stop)
    except CxrEdgeError as error:
        log(str(error))
        return error.exit_code
    except (OSError, MemoryError) as error:
        log(str(error) or "out of memory")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
