"""How accurate a trained model is on images unlike its training images, and how one training compares with another.

    python -m benchmarks.generalization --run RUN [--run RUN] [--data DIR] [--json FILE]

Each run's Keras model classifies its test part as it is and under each shift of the suite (`evaluation/shifts.py`), and
every folder of labelled images. Runs of the same split, whatever their image size, are compared with the first one on
the same images: difference with its paired 95 % interval.

A run may be a cross-validation. Its test part is that of all folds, each image classified by the model that never saw
it; on a folder of images, an image counts by the share of the folds' models that are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.int8_shift import trained_as
from benchmarks.labelled_folders import read_labelled, require_distinct_names
from cxr_edge import __version__
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.files import write_json
from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.records import JsonObject
from cxr_edge.reporting.terminal.tables import percent, show_table
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import fold_runs, is_cross_validation
from cxr_edge.statistics.intervals import bootstrapped_mean
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

TEST = "test part"
#: Every fold classifies the same images.
_read_once = cache(read_labelled)


@dataclass(frozen=True)
class Training:
    """A run, or the folds of a cross-validation, under the name of its folder."""

    name: str
    runs: tuple[Run, ...]

    @property
    def tested(self) -> list[str]:
        """What has to be equal for a comparison: the test images in order, by their SHA-256."""
        return [item.sha256 for run in self.runs for item in run_split(run).part("test")]


@dataclass(frozen=True)
class Answers:
    """Whether each image of a set is classified right: 1, 0, or the share of several models, `[N]`; and its label."""

    right: NDArray[np.float64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One training on one set of images; shares are of 1."""

    run: str
    images_of: str
    images: int
    accuracy: Interval
    #: By label.
    recall: dict[str, Interval]
    #: This training's accuracy less the first one's.
    difference: Interval | None


def image_sets(run: Run, folders: list[Path]) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Name, images `[N, S, S, 1]` and label indices `[N]` of each set."""
    split, size = run_split(run), run.config().options.image_size
    images, targets = np.asarray(decoded(split, "test", size)), split.targets("test")
    yield TEST, images, targets
    for shift in SUITE:
        yield f"{TEST}, {shift.name}", shift.apply(images), targets
    for folder in folders:
        yield folder.name, *_read_once(folder, split.labels, size, split.resize)


def answers(training: Training, folders: list[Path]) -> dict[str, Answers]:
    """By the name of each set of images."""
    by_set: dict[str, list[Answers]] = {}
    for run in training.runs:
        step = compiled(load_classifier(run))
        for name, images, targets in image_sets(run, folders):
            right = predict_probabilities(step, images).argmax(axis=1) == targets
            by_set.setdefault(name, []).append(Answers(right.astype(np.float64), targets))
    shared = {folder.name for folder in folders}
    return {name: merged(sets, averaged=name in shared) for name, sets in by_set.items()}


def merged(sets: list[Answers], averaged: bool) -> Answers:
    """The answers of several models: averaged, if all saw the same images, or one after the other."""
    if averaged:
        return Answers(np.mean([answers.right for answers in sets], axis=0), sets[0].targets)
    return Answers(
        *(np.concatenate(parts) for parts in zip(*((each.right, each.targets) for each in sets), strict=True))
    )


def measured(trainings: list[Training], folders: list[Path]) -> list[Row]:
    """All trainings on all sets of images."""
    rows, labels = [], trainings[0].runs[0].config().labels
    first: dict[str, Answers] = {}
    for training in trainings:
        same = training.tested == trainings[0].tested
        for name, of_set in answers(training, folders).items():
            before = first.setdefault(name, of_set)
            difference = bootstrapped_mean(of_set.right - before.right) if same and before is not of_set else None
            members = [(label, of_set.right[of_set.targets == index]) for index, label in enumerate(labels)]
            recall = {label: share(right) for label, right in members if len(right)}
            rows.append(Row(training.name, name, len(of_set.right), share(of_set.right), recall, difference))
    return rows


def share(right: NDArray[np.float64]) -> Interval:
    """The mean, with an interval over images: Wilson's if each is right or wrong."""
    if np.isin(right, (0, 1)).all():
        return wilson_interval(int(right.sum()), len(right))
    return bootstrapped_mean(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, action="append", required=True, help="or a cross-validation; repeatable")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled images; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    require_distinct_names(parser, options.data)
    trainings = [_training(folder) for folder in options.run]
    rows = measured(trainings, options.data)
    show_table(
        "Keras models",
        ["run", "images", "number", "accuracy %", "COVID-19 %", "difference, points"],
        [
            [row.run, row.images_of, str(row.images), _percent(row.accuracy), _recall(row), _percent(row.difference)]
            for row in rows
        ],
        texts=2,
    )
    if options.json:
        record = {
            "cxr_edge": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "training": {training.name: _trained_as(training) for training in trainings},
            "rows": [asdict(row) for row in rows],
        }
        write_json(options.json, record)


def _training(folder: Path) -> Training:
    return Training(folder.name, tuple(fold_runs(folder)) if is_cross_validation(folder) else (Run(folder),))


def _trained_as(training: Training) -> JsonObject:
    options, folds = trained_as(training.runs[0]), len(training.runs)
    return {**options, "fold": None, "folds": folds} if folds > 1 else options


def _recall(row: Row) -> str:
    return _percent(row.recall.get("COVID-19"))


def _percent(interval: Interval | None) -> str:
    if interval is None or interval.value is None:
        return "-"
    return f"{percent(interval.value)} ({percent(interval.low)} to {percent(interval.high)})"


if __name__ == "__main__":
    main()
