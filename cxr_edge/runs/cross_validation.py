"""The folder of a cross-validation: one run per fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cxr_edge.errors import RunError
from cxr_edge.runs.run import Run, run_named, started_folds
from cxr_edge.train_options import TrainOptions


def is_cross_validation(folder: Path) -> bool:
    """Whether a folder holds the runs of a cross-validation, or at least one of them."""
    return bool(started_folds(folder))


def cross_validation_named(name: Path | None) -> Path | None:
    """The folder of the cross-validation with that name or path; None for any other folder, or no name."""
    folder = None if name is None else run_named(name).folder
    return folder if folder is not None and is_cross_validation(folder) else None


def fold_run(folder: Path, number: int) -> Run:
    """The run of a fold, counted from 1. It need not exist."""
    return Run(folder / f"fold-{number}")


def fold_runs(folder: Path) -> list[Run]:
    """The runs of all folds, in order; those not yet trained need not exist.

    Raises:
        RunError: the folder holds no cross-validation.
    """
    return [fold_run(folder, number) for number in range(1, (_first(folder).config().options.folds or 0) + 1)]


def is_fold(run: Run) -> bool:
    """Whether a run is a fold of the cross-validation in its folder; a fold's student beside the folds is not."""
    folder = run.folder.resolve()
    if run.config().options.folds is None or not is_cross_validation(folder.parent):
        return False
    return folder in [fold.folder for fold in fold_runs(folder.parent)]


def finished_folds(folder: Path) -> list[Run]:
    """The runs of all folds, in order.

    Raises:
        RunError: the folder holds no cross-validation, or a fold is not finished.
    """
    runs = fold_runs(folder)
    for run in runs:
        if not run.model_file.is_file():
            raise RunError(
                f"{folder}: {run.folder.name} is not trained yet; finish the cross-validation with "
                f"cxr-edge train --run {folder} --resume"
            )
    return runs


def fold_options(folder: Path) -> TrainOptions:
    """The options of all folds, without a fold's number.

    Raises:
        RunError: the folder holds no cross-validation, or folds of several.
    """
    first = _first(folder)
    options = replace(first.config().options, fold=None)
    for other in started_folds(folder):
        if replace(other.config().options, fold=None) != options:
            raise RunError(
                f"{folder}: {first.folder.name} and {other.folder.name} were started with different options; remove "
                "the folds that do not belong here"
            )
    return options


def _first(folder: Path) -> Run:
    runs = started_folds(folder)
    if not runs:
        raise RunError(f"{folder}: holds no folds; make them with cxr-edge train --folds")
    return runs[0]
