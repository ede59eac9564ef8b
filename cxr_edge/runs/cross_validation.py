"""The folder of a cross-validation: one run per fold."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.errors import RunError
from cxr_edge.runs.run import Run, run_named


def is_cross_validation(folder: Path) -> bool:
    """Whether a folder holds the runs of a cross-validation."""
    return fold_run(folder, 1).config_file.is_file()


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
    if not is_cross_validation(folder):
        raise RunError(f"{folder}: holds no folds; make them with cxr-edge train --folds")
    count = fold_run(folder, 1).config().options.folds or 0
    return [fold_run(folder, number) for number in range(1, count + 1)]
