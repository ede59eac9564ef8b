"""`cxr-edge shrink`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_edge.cli.options import JsonOption, NewRunOption
from cxr_edge.cli.spread import spread_declared

if TYPE_CHECKING:
    from cxr_edge.evaluation.run_metrics import CrossValidation, StudentMetrics
    from cxr_edge.runs import Run
    from cxr_edge.shrink_options import ShrinkOptions


def _options() -> type[ShrinkOptions]:
    from cxr_edge.shrink_options import ShrinkOptions

    return ShrinkOptions


@spread_declared("options", _options)
def command(
    options: Mapping[str, Any],
    teacher: Annotated[
        Path | None,
        typer.Argument(
            help="Trained run, or finished cross-validation: its folder, or its name under runs/.",
            show_default="the latest run under runs/",
        ),
    ] = None,
    run: NewRunOption = None,
    json: JsonOption = None,
) -> None:
    """Make a smaller model from a trained run: fewer blocks and channels, trained to answer as that run does.

    The student is a separate run on the same split. Given a cross-validation, shrink makes a student of each fold, and
    shows the figures over all of them. If interrupted, resume it with train --resume.
    """
    from cxr_edge.cli.train import how_to_resume
    from cxr_edge.console import interruptible
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.runs import new_run
    from cxr_edge.runs.cross_validation import cross_validation_named
    from cxr_edge.shrink_options import shrink_options

    student, complete = new_run(run), shrink_options(options)
    teachers = cross_validation_named(teacher)
    with interruptible(lambda: how_to_resume(student.folder)):
        if teachers is None:
            result: StudentMetrics | CrossValidation = _shrunk(teacher, student, complete)
        else:
            result = _shrunk_folds(teachers, student.folder, complete)
    if json is not None:
        write_json(json, to_json(result))


def _shrunk(teacher: Path | None, student: Run, options: ShrinkOptions) -> StudentMetrics:
    from cxr_edge.evaluation.run_metrics import StudentMetrics
    from cxr_edge.reporting.html.plots import draw_run_plots
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.reporting.terminal.training import TrainingDisplay
    from cxr_edge.runs import find_run
    from cxr_edge.shrinking.shrink import shrink

    source = find_run(teacher)
    show(f"student of {source.folder} in {student.folder}")
    result = shrink(source, student, options, TrainingDisplay(draw_run_plots))
    show(f"next: cxr-edge export --run {student.folder}")
    record = result.run.config().student
    return StudentMetrics(metrics=result.metrics, latency=record.latency if record else None)


def _shrunk_folds(teachers: Path, folder: Path, options: ShrinkOptions) -> CrossValidation:
    from cxr_edge.reporting.html.plots import draw_run_plots
    from cxr_edge.reporting.terminal.metrics import show_cross_validation
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.reporting.terminal.training import TrainingDisplay
    from cxr_edge.shrinking.folds import shrink_folds

    show(f"students of {teachers} in {folder}")
    figures = shrink_folds(teachers, folder, options, TrainingDisplay(draw_run_plots))
    show_cross_validation(figures)
    show(f"next: cxr-edge export --run {folder}")
    return figures
