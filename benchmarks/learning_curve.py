"""Would more X-rays help? Trains on growing shares of a run's training images, and counts on the run's test images.

    python -m benchmarks.learning_curve --run RUN [--run RUN] [--share 0.25 0.5] --work DIR [--data DIR] [--json FILE]

The smaller shares are parts of the larger ones, with the classes in their proportions. Epochs grow as the images become
fewer, so that each training takes as many steps as the run, which is itself the last point. Finished trainings in the
folder of `--work` are used again, and interrupted ones resumed.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.int8_shift import trained_as
from benchmarks.labelled_folders import read_labelled, require_distinct_names
from cxr_edge import __version__, train
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split, SplitItem, run_split
from cxr_edge.files import write_json, write_text
from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.records import to_json
from cxr_edge.reporting.html.plots import draw_run_plots
from cxr_edge.reporting.terminal.tables import percent, show_table
from cxr_edge.reporting.terminal.training import TrainingDisplay
from cxr_edge.runs import Run
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

COVID = "COVID-19"


@dataclass(frozen=True)
class Point:
    """A training on a share of the training images, counted on a set of images."""

    run: str
    share: float
    training_images: int
    training_covid: int
    images_of: str
    images: int
    accuracy: Interval
    recall: Interval


def part_of(split: Split, share: float) -> list[SplitItem]:
    """The items of a split with a share of each class's training images, always the same ones for the same share."""
    items = [item for item in split.items if item.part != "train"]
    for label in split.labels:
        members = sorted((item for item in split.part("train") if item.label == label), key=lambda item: item.sha256)
        items += members[: max(1, round(share * len(members)))]
    return items


def table_of(split: Split, share: float) -> str:
    """A table of the images for `train --data`, already split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    for item in part_of(split, share):
        writer.writerow([(split.root / item.path).resolve(), item.label, item.part])
    return text.getvalue()


def trained_on(run: Run, share: float, work: Path) -> Run:
    """A run like another one, on a share of its training images."""
    folder = work / f"{run.folder.resolve().name}-{share:g}"
    smaller, table = Run(folder / "run"), folder / "images.csv"
    options = run.config().options
    stated: dict[str, Any] = {
        "image_size": options.image_size,
        "resize": str(options.resize),
        "weights": options.weights,
        "epochs": round(options.epochs / share),
        "head_epochs": round(options.head_epochs / share),
        "frozen_blocks": options.frozen_blocks,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "precision": str(options.precision),
        "seed": options.seed,
    }
    text = table_of(run_split(run), share)
    if smaller.config_file.is_file():
        started = smaller.config().options
        if table.read_text(encoding="utf-8") != text or any(getattr(started, key) != stated[key] for key in stated):
            raise SystemExit(f"{folder}: was trained for another run; choose another folder for --work")
    if smaller.model_file.is_file():
        return smaller
    folder.mkdir(parents=True, exist_ok=True)
    write_text(table, text)
    resuming = smaller.config_file.is_file()
    train(data=table, run=smaller.folder, resume=resuming, progress=TrainingDisplay(draw_run_plots), **stated)
    return smaller


def points_of(run: Run, share: float, trained: Run, folders: list[Path]) -> Iterator[Point]:
    """What a training on a share answers about its run's test images, and about those of the folders."""
    split, size = run_split(run), run.config().options.image_size
    own = run_split(trained).part("train")
    step = compiled(load_classifier(trained))
    sets: list[tuple[str, NDArray[np.uint8], NDArray[np.int64]]] = [
        ("test part", np.asarray(decoded(split, "test", size)), split.targets("test")),
        *((folder.name, *read_labelled(folder, split.labels, size, split.resize)) for folder in folders),
    ]
    covid = split.labels.index(COVID)
    for name, images, targets in sets:
        right = predict_probabilities(step, images).argmax(axis=1) == targets
        yield Point(
            run=run.folder.resolve().name,
            share=share,
            training_images=len(own),
            training_covid=sum(item.label == COVID for item in own),
            images_of=name,
            images=len(targets),
            accuracy=wilson_interval(int(right.sum()), len(targets)),
            recall=wilson_interval(int(right[targets == covid].sum()), int((targets == covid).sum())),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, action="append", required=True, help="repeatable")
    parser.add_argument("--share", type=float, nargs="+", default=[0.25, 0.5], help="of the training images")
    parser.add_argument("--work", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled images; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    require_distinct_names(parser, options.data)
    if not all(0 < share < 1 for share in options.share):
        parser.error("--share: must be above 0 and below 1; the run itself is the whole")
    runs = [Run(folder) for folder in options.run]
    points = []
    for run in runs:
        for share in sorted(options.share):
            points += points_of(run, share, trained_on(run, share, options.work), options.data)
        points += points_of(run, 1.0, run, options.data)
    show_table(
        "Keras models",
        ["run", "images", "share %", "trained on", "of COVID-19", "accuracy %", "COVID-19 %"],
        [
            [
                *(point.run, point.images_of, percent(point.share, 0)),
                *(str(point.training_images), str(point.training_covid)),
                *(percent(share.value) for share in (point.accuracy, point.recall)),
            ]
            for point in points
        ],
        texts=2,
    )
    if options.json:
        record = {
            "cxr_edge": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "training": {run.folder.resolve().name: trained_as(run) for run in runs},
            "points": [to_json(point) for point in points],
        }
        write_json(options.json, record)


if __name__ == "__main__":
    main()
