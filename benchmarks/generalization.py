"""How accurate a trained model is on images unlike its training images, and how one training compares with another.

    python -m benchmarks.generalization --run RUN [--run RUN] [--data DIR] [--json FILE]

Each run's Keras model classifies its test part as it is and under each shift of the suite (`evaluation/shifts.py`), and
every folder of labelled images. Runs of the same split and size are compared with the first one on the same images:
difference with its paired 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
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
from cxr_edge.reporting.terminal.tables import percent, show_table
from cxr_edge.runs import Run
from cxr_edge.statistics.intervals import paired_difference
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

TEST = "test part"


@dataclass(frozen=True)
class Row:
    """One run on one set of images; shares are of 1."""

    run: str
    images_of: str
    images: int
    accuracy: Interval
    #: By label.
    recall: dict[str, Interval]
    #: This run's accuracy less the first one's.
    difference: Interval | None


def image_sets(run: Run, folders: list[Path]) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.int64]]]:
    """Name, images `[N, S, S, 1]` and label indices `[N]` of each set."""
    split, size = run_split(run), run.config().options.image_size
    images, targets = np.asarray(decoded(split, "test", size)), split.targets("test")
    yield TEST, images, targets
    for shift in SUITE:
        yield f"{TEST}, {shift.name}", shift.apply(images), targets
    for folder in folders:
        yield folder.name, *read_labelled(folder, split.labels, size, split.resize)


def measured(runs: list[Run], folders: list[Path]) -> list[Row]:
    """All runs on all sets of images."""
    rows, first = [], runs[0].config()
    right_before: dict[str, NDArray[np.bool_]] = {}
    for run in runs:
        config = run.config()
        same = (config.data_sha256, config.options.image_size) == (first.data_sha256, first.options.image_size)
        step = compiled(load_classifier(run))
        for name, images, targets in image_sets(run, folders):
            right = predict_probabilities(step, images).argmax(axis=1) == targets
            before = right_before.setdefault(name, right)
            members = [(label, right[targets == index]) for index, label in enumerate(config.labels)]
            rows.append(
                Row(
                    run=run.folder.name,
                    images_of=name,
                    images=len(right),
                    accuracy=wilson_interval(int(right.sum()), len(right)),
                    recall={label: wilson_interval(int(hits.sum()), len(hits)) for label, hits in members if len(hits)},
                    difference=paired_difference(before, right) if same and before is not right else None,
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, action="append", required=True, help="repeatable")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled images; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    require_distinct_names(parser, options.data)
    runs = [Run(folder) for folder in options.run]
    rows = measured(runs, options.data)
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
            "training": {run.folder.name: trained_as(run) for run in runs},
            "rows": [asdict(row) for row in rows],
        }
        write_json(options.json, record)


def _recall(row: Row) -> str:
    return _percent(row.recall.get("COVID-19"))


def _percent(interval: Interval | None) -> str:
    if interval is None or interval.value is None:
        return "-"
    return f"{percent(interval.value)} ({percent(interval.low)} to {percent(interval.high)})"


if __name__ == "__main__":
    main()
