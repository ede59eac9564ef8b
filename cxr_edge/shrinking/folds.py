"""A student of each fold of a cross-validation, and their figures over all images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_edge.errors import OptionError, RunError
from cxr_edge.evaluation.run_metrics import CrossValidation
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import fold_runs
from cxr_edge.runs.lock import locked
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.runs.run import started_folds
from cxr_edge.shrink_options import ShrinkOptions
from cxr_edge.shrinking.shrink import shrink
from cxr_edge.train_options import require_same
from cxr_edge.training.folds import finish_folds, require_same_images
from cxr_edge.training.start import require_new


def shrink_folds(teachers: Path, folder: Path, options: ShrinkOptions, progress: Progress = SILENT) -> CrossValidation:
    """Make a student of each fold's model; each is tested on the images that neither it nor its teacher has seen.

    Each teacher's own measurements decide on its student's network, as in a single `shrink`.

    Args:
        teachers: the folder of a finished cross-validation.
        folder: of the students' runs `fold-1` and so on; none has been started.
        options: how small the students become, and how they are trained.
        progress: receives the reports of each run.

    Raises:
        OptionError, DataError, GateError, RunError: as `shrink`; students that are finished stay.
    """
    runs = fold_runs(teachers)
    if folder.resolve() == teachers.resolve():
        raise OptionError(f"--run {folder}: holds the teachers; name another folder")
    for run in runs:
        run.require_model()
    require_same_images(runs)
    with locked(folder):
        require_new(Run(folder))
        return _all_students(runs, folder, options, progress)


def are_students(folder: Path) -> bool:
    """Whether the folds in a folder are students of another cross-validation."""
    return any(run.config().student is not None for run in started_folds(folder))


def resume_students(folder: Path, stated: Mapping[str, Any], progress: Progress = SILENT) -> CrossValidation:
    """Finish the students of a cross-validation with the options of the others.

    Args:
        folder: of the students' runs, at least one of which was started.
        stated: options of `train`; each must equal that of the students.
        progress: receives the reports of each run.

    Raises:
        OptionError, DataError, GateError, RunError: as `shrink_folds`.
    """
    students = started_folds(folder)
    first = students[0]
    require_same(first.config().options, stated, folder)
    options, teachers = _made_of(first)
    for run in students:
        if _made_of(run) != (options, teachers):
            raise RunError(
                f"{folder}: {first.folder.name} and {run.folder.name} are not students of the same cross-validation, "
                "made with the same options; remove those that do not belong here"
            )
    runs = fold_runs(teachers)
    for run in runs:
        run.require_model()
    with locked(folder):
        return _all_students(runs, folder, options, progress)


def _all_students(runs: list[Run], folder: Path, options: ShrinkOptions, progress: Progress) -> CrossValidation:
    def start(number: int, run: Run) -> None:
        shrink(runs[number - 1], run, options, progress)

    return finish_folds(folder, len(runs), start, progress)


def _made_of(run: Run) -> tuple[ShrinkOptions, Path]:
    """The options that a student was made with, and the folder of the cross-validation that has its teacher."""
    config = run.config()
    student = config.student
    if student is None:
        raise RunError(f"{run.folder}: is not a student, unlike the folds beside it; remove it")
    if student.latency is None and student.macs_budget is None:
        raise RunError(f"{run.folder}: does not record its budget (an earlier version made it); shrink all folds again")
    options = ShrinkOptions(
        macs=student.macs_budget,
        latency=None if student.latency is None else student.latency.budget,
        image_size=student.stated_image_size,
        unlabelled=student.unlabelled,
        epochs=config.options.epochs,
        learning_rate=config.options.learning_rate,
    )
    return options, Path(student.teacher).parent
