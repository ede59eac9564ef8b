"""The split of a run as data, and its file `split.csv`; `training.splitting` makes it."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxr_edge.data.layouts import PARTS, data_root
from cxr_edge.errors import DataError
from cxr_edge.files import MAX_TABLE_BYTES, require_bounded, write_text
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.runs import Run

_COLUMNS = ("path", "label", "part", "patient", "sha256")


@dataclass(frozen=True)
class SplitItem:
    """A row of `split.csv`."""

    path: str
    label: str
    part: str
    patient: str
    sha256: str


@dataclass(frozen=True)
class Split:
    """Which image belongs to which part of a data set; reused by every later command on the same run."""

    root: Path
    labels: tuple[str, ...]
    items: tuple[SplitItem, ...]
    #: How its images are resized to the network's input, one of `imaging.rule.RESIZES`.
    resize: str = STRETCH

    def part(self, name: str) -> tuple[SplitItem, ...]:
        """The items of one of `PARTS`."""
        return tuple(item for item in self.items if item.part == name)

    def targets(self, part: str) -> np.ndarray:
        """int64 `[N]`: label indices of a part, in the order of `part()`."""
        return np.array([self.labels.index(item.label) for item in self.part(part)], dtype=np.int64)

    def data_hash(self) -> str:
        """SHA-256 over path, label, part and content hash of every item: identifies the exact training data."""
        rows = sorted(f"{item.part}\t{item.label}\t{item.path}\t{item.sha256}" for item in self.items)
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def write_split(split: Split, path: Path) -> None:
    """Write `split.csv`, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in split.items:
        writer.writerow([item.path, item.label, item.part, item.patient, item.sha256])
    write_text(path, text.getvalue())


def split_items(path: Path, labels: tuple[str, ...]) -> tuple[SplitItem, ...]:
    """The rows of a run's `split.csv`. Raises DataError for a damaged table."""
    try:
        require_bounded(path, MAX_TABLE_BYTES)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if not rows or tuple(rows[0]) != _COLUMNS or any(len(row) != len(_COLUMNS) for row in rows):
        raise DataError(f"{path}: not a split table with the columns {', '.join(_COLUMNS)}")
    items = tuple(SplitItem(*row) for row in rows[1:])
    for number, item in enumerate(items, start=2):
        if item.label not in labels or item.part not in PARTS:
            raise DataError(f"{path}, line {number}: unknown label or part ({item.label}, {item.part})")
    return items


def read_split(path: Path, root: Path, labels: tuple[str, ...]) -> Split:
    """Read `split.csv` of a run whose data is under `root`.

    Raises:
        DataError: the table is damaged, or the data is gone.
    """
    items = split_items(path, labels)
    if not root.is_dir():
        raise DataError(f"{root}: the data folder this run was trained on is gone")
    return Split(root, labels, items)


def run_split(run: Run) -> Split:
    """The split that a run was trained on. Raises DataError, RunError."""
    config = run.config()
    root = run.phantoms_folder if config.options.data is None else data_root(Path(config.options.data))
    return replace(read_split(run.split_file, root, config.labels), resize=config.options.resize)
