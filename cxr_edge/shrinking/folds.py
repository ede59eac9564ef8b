"""A student of each fold of a cross-validation, and their figures over all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.errors import OptionError, RunError
from cxr_edge.evaluation.run_metrics import CrossValidation
from cxr_edge.files import sha256_of
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import finished_folds, is_cross_validation
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
    if folder.resolve() == teachers.resolve():
        raise OptionError(f"--run {folder}: holds the teachers; name another folder")
    runs = finished_folds(teachers)
    for run in runs:
        options.check(run.config().options)
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
    first = started_folds(folder)[0]
    require_same(first.config().options, stated, folder)
    made = _require_alike(folder)
    if not is_cross_validation(made.teachers):
        raise RunError(f"{folder}: the teachers of its students are no longer in {made.teachers}; put them back")
    runs = finished_folds(made.teachers)
    require_same_images(runs)
    _require_teachers(folder, runs)
    with locked(folder):
        return _all_students(runs, folder, made.options, progress)


def _require_teachers(folder: Path, teachers: list[Run]) -> None:
    """Raises RunError if a student, finished or not, is one of a model that was replaced since."""
    outdated = []
    for run in started_folds(folder):
        config = run.config()
        teacher = teachers[(config.options.fold or 1) - 1]
        made_from = None if config.student is None else config.student.teacher_sha256
        if made_from != sha256_of(teacher.model_file) or config.data_sha256 != teacher.config().data_sha256:
            outdated.append(run.folder.name)
    if outdated:
        raise RunError(
            f"{folder}: the teachers of {', '.join(outdated)} were trained again since; remove these students, and "
            f"finish with cxr-edge train --run {folder} --resume"
        )


def _all_students(runs: list[Run], folder: Path, options: ShrinkOptions, progress: Progress) -> CrossValidation:
    def start(number: int, run: Run) -> None:
        shrink(runs[number - 1], run, options, progress)
        # Images without labels may have changed since the first fold.
        _require_alike(folder)

    return finish_folds(folder, len(runs), start, progress)


@dataclass(frozen=True)
class _Made:
    """How a student was made: the folder of the cross-validation that its teacher is a fold of, and the rest."""

    teachers: Path
    options: ShrinkOptions
    unlabelled_sha256: str | None


def _require_alike(folder: Path) -> _Made:
    """How all students in a folder were made. Raises RunError if they were not made in the same way."""
    first, *others = started_folds(folder)
    made = _made_of(first)
    for run in others:
        if _made_of(run) != made:
            made = None
        if made is None:
            raise RunError(
                f"{folder}: {first.folder.name} and {run.folder.name} are not students of the same cross-validation, "
                "made with the same options and images; remove those that do not belong here"
            )
    assert made is not None
    return made


def _made_of(run: Run) -> _Made | None:
    """How a student was made; None for another run."""
    config = run.config()
    student = config.student
    if student is None:
        return None
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
    return _Made(Path(student.teacher).parent, options, student.unlabelled_sha256)
