"""A complete training of any kind: of a run, of the runs of all folds, or of a student of each fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_edge.evaluation.run_metrics import CrossValidation
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import is_cross_validation
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.shrinking.folds import are_students, resume_students
from cxr_edge.train_options import completed
from cxr_edge.training.folds import cross_validate, resume_folds
from cxr_edge.training.jobs import resume, train_new
from cxr_edge.training.result import TrainingResult


def train_or_resume(
    folder: Path, stated: Mapping[str, Any], resuming: bool, progress: Progress = SILENT
) -> TrainingResult | CrossValidation:
    """Train or resume one run, or one run per fold.

    Args:
        folder: the folder of the run, or of the folds' runs.
        stated: options by their names in `TrainOptions`; missing ones have their defaults.
        resuming: whether to resume an interrupted training.
        progress: receives the reports of each run.

    Raises:
        OptionError, DataError, RunError, WeightsError; for students by latency also GateError.
    """
    if resuming and is_cross_validation(folder):
        resume_all = resume_students if are_students(folder) else resume_folds
        return resume_all(folder, stated, progress)
    if not resuming and "folds" in stated and "fold" not in stated:
        return cross_validate(folder, completed(stated), progress)
    run = Run(folder)
    return resume(run, stated, progress) if resuming else train_new(run, completed(stated), progress)
