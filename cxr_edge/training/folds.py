"""Cross-validation: one run per fold, and figures over all images, each judged by the model that never saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_edge.data.split import run_split
from cxr_edge.errors import DataError, OptionError
from cxr_edge.evaluation.run_metrics import CrossValidation, pooled, read_run_metrics
from cxr_edge.files import write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import fold_options, fold_run
from cxr_edge.runs.leftovers import remove_leftovers
from cxr_edge.runs.lock import locked
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import TrainOptions, require_same
from cxr_edge.training.jobs import resume, train_new
from cxr_edge.training.start import require_new

RECORD = "cross_validation.json"


def cross_validate(folder: Path, options: TrainOptions, progress: Progress = SILENT) -> CrossValidation:
    """For each fold in turn, train on all others, and write the pooled figures of all test parts.

    Args:
        folder: where to put the runs `fold-1` and so on, and `cross_validation.json`.
        options: with `folds` and without `fold`.
        progress: receives the reports of each run.

    Raises:
        OptionError, DataError, RunError, WeightsError: as a single training.
    """
    if options.folds is None:
        raise OptionError("a cross-validation needs --folds, the number of its test parts")
    options.check()
    with locked(folder):
        require_new(Run(folder))
        return _all_folds(folder, options, progress)


def resume_folds(folder: Path, stated: Mapping[str, Any], progress: Progress = SILENT) -> CrossValidation:
    """Train the unfinished folds with the options of the others; any stated option must equal those.

    Raises:
        OptionError, DataError, RunError, WeightsError: as a single training.
    """
    options = fold_options(folder)
    require_same(options, stated, folder)
    with locked(folder):
        return _all_folds(folder, options, progress)


def _all_folds(folder: Path, options: TrainOptions, progress: Progress) -> CrossValidation:
    def start(number: int, run: Run) -> None:
        train_new(run, replace(options, fold=number), progress)

    return finish_folds(folder, options.folds or 0, start, progress)


def finish_folds(
    folder: Path, count: int, start: Callable[[int, Run], None], progress: Progress = SILENT
) -> CrossValidation:
    """Train the folds that are not trained yet, resuming those that were begun, and write the pooled figures.

    Args:
        folder: of the folds' runs; the caller holds its lock.
        count: the number of folds.
        start: trains a fold that was not begun, by its number and its run.
        progress: receives the reports of each run.

    Raises:
        OptionError, DataError, RunError, WeightsError: as a single training, and whatever `start` raises.
    """
    runs = [fold_run(folder, number) for number in range(1, count + 1)]
    for number, run in enumerate(runs, start=1):
        if run.model_file.is_file() and not run.mlflow_run_file.is_file():
            # The leftovers of a process that was killed after writing the model.
            with locked(run.folder):
                remove_leftovers(run)
            continue
        progress.fold(number, count)
        if run.config_file.is_file():
            resume(run, {}, progress)
        else:
            start(number, run)
        forget_models()
    require_same_images(runs)
    figures = pooled([read_run_metrics(run.metrics_file) for run in runs])
    write_json(folder / RECORD, to_json(figures))
    return figures


def forget_models() -> None:
    """Free the memory of unused models, to all of which Keras keeps references."""
    from cxr_edge.training.backend import keras

    keras.backend.clear_session()


def require_same_images(runs: Sequence[Run]) -> None:
    """Raises DataError unless the test parts together have each image once: otherwise the data has changed."""
    splits = [run_split(run) for run in runs]
    tested = Counter((item.path, item.sha256) for split in splits for item in split.part("test"))
    for split, run in zip(splits, runs, strict=True):
        if Counter((item.path, item.sha256) for item in split.items) != tested:
            raise DataError(
                f"{run.folder}: its images are not those of the other folds, the data changed between them; remove the "
                "folds that are older than the change, and finish with --resume"
            )
