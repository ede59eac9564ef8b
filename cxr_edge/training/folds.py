"""`cxr-edge train --folds K`: a run a fold, and figures over all images, each judged by the model that never saw it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.data.split import run_split
from cxr_edge.errors import DataError, OptionError, RunError
from cxr_edge.files import write_json
from cxr_edge.reporting.terminal.tables import show, show_cross_validation
from cxr_edge.runs import RUNS, Run
from cxr_edge.statistics.intervals import share
from cxr_edge.training.backend import keras
from cxr_edge.training.command import options_of, resume_training, start_training

RECORD = "cross_validation.json"


def cross_validate(folder: Path | None, given: dict[str, Any], json: Path | None) -> dict[str, Any]:
    """Train on all folds but one, for each in turn, and show and write the figures of all test parts together.

    Args:
        folder: for the runs `fold-1` and so on, and `cross_validation.json`; a new one under `runs/` by default.
        given: options of `TrainOptions`, `folds` among them.
        json: where to write the figures as well.

    Raises:
        OptionError, DataError, RunError, WeightsError: as a single training.
    """
    if given["folds"] < 2:
        raise OptionError(f"--folds {given['folds']}: at least 2 are needed")
    folder = folder or RUNS / datetime.now().strftime("%Y%m%d-%H%M%S")
    if _first_run(folder).config_file.is_file():
        raise RunError(f"{folder}: holds folds already; go on with --resume, or name another folder with --run")
    with _no_empty_folder(folder):
        return _all_folds(folder, given, json)


def is_cross_validation(folder: Path) -> bool:
    """Whether `--resume` with this folder means `resume_folds`."""
    return _first_run(folder).config_file.is_file()


def resume_folds(folder: Path, given: dict[str, Any], json: Path | None) -> dict[str, Any]:
    """Go on with folds that were interrupted, by the options of the first; options given must be those."""
    stored = options_of(_first_run(folder), given)
    if stored["data"] is not None:
        del stored["phantoms"]
    return _all_folds(folder, stored, json)


def _first_run(folder: Path) -> Run:
    return Run(folder / "fold-1")


@contextmanager
def _no_empty_folder(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _all_folds(folder: Path, given: dict[str, Any], json: Path | None) -> dict[str, Any]:
    runs = [Run(folder / f"fold-{number}") for number in range(1, given["folds"] + 1)]
    for number, run in enumerate(runs, start=1):
        if run.model_file.is_file():
            continue
        show(f"fold {number} of {len(runs)}")
        if run.config_file.is_file():
            resume_training(run.folder, {}, None)
        else:
            start_training(run.folder, {**given, "fold": number}, None)
        # Else each model stays in memory.
        keras.backend.clear_session()
    record = pooled(runs)
    write_json(folder / RECORD, record)
    show_cross_validation(record)
    if json is not None:
        write_json(json, record)
    return record


def pooled(runs: list[Run]) -> dict[str, Any]:
    """The figures of all folds' test parts together, with Wilson intervals, and the accuracy of each.

    Raises:
        DataError: the test parts are not each of the same images once, because the data changed between folds.
    """
    splits = [run_split(run) for run in runs]
    tested = Counter((item.path, item.sha256) for split in splits for item in split.part("test"))
    for split, run in zip(splits, runs, strict=True):
        if Counter((item.path, item.sha256) for item in split.items) != tested:
            raise DataError(
                f"{run.folder}: its images are not those of the other folds, the data changed between them; remove the "
                "folds that are older than the change, and go on with --resume"
            )
    metrics = [json.loads(run.metrics_file.read_text(encoding="utf-8")) for run in runs]
    matrix = np.sum([one["confusion_matrix"] for one in metrics], axis=0)
    right, images = matrix.diagonal(), matrix.sum(axis=1)

    def rate(hits: int, count: int) -> dict[str, Any]:
        return share(np.arange(count) < hits)

    return {
        "data": metrics[0]["data"],
        "images": int(images.sum()),
        "accuracy": rate(int(right.sum()), int(images.sum())),
        "balanced_accuracy": float((right / images).mean()),
        "fold_accuracy": [one["accuracy"] for one in metrics],
        "classes": [
            {
                "label": label,
                "support": int(images[index]),
                "recall": rate(int(right[index]), int(images[index])),
                "precision": rate(int(right[index]), int(matrix[:, index].sum())),
            }
            for index, label in enumerate(splits[0].labels)
        ],
        "confusion_matrix": matrix.tolist(),
    }
