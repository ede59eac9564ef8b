"""`cxr-edge train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_edge.cli.options import OUTPUT, ConfigOption, JsonOption, LikeOption, NewRunOption
from cxr_edge.cli.spread import spread_declared

if TYPE_CHECKING:
    from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics
    from cxr_edge.train_options import TrainOptions


def _options() -> type[TrainOptions]:
    from cxr_edge.train_options import TrainOptions

    return TrainOptions


@spread_declared("options", _options)
def command(
    options: Mapping[str, Any],
    run: NewRunOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run.", rich_help_panel=OUTPUT)
    ] = False,
    like: LikeOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
) -> None:
    """Train Xception on a folder of chest X-rays, or on phantoms."""
    from cxr_edge.console import interruptible
    from cxr_edge.errors import OptionError
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runs import latest_started, new_run, run_named
    from cxr_edge.train_options import require_shared_run, stated_options

    if like is not None and options["data"] is not None and run_named(like).phantoms:
        raise OptionError(
            f"--like {like}: was trained on phantoms, whose options do not suit X-rays; leave one of --like and --data "
            "out"
        )
    stated = stated_options(options)
    require_shared_run(stated, run, resume)
    folder = latest_started() if resume and run is None else new_run(run).folder
    with interruptible(lambda: how_to_resume(folder)):
        show(f"training in {folder}")
        result = _trained(folder, stated, resume)
    if json is not None:
        write_json(json, to_json(result))


def _trained(folder: Path, stated: Mapping[str, Any], resuming: bool) -> RunMetrics | CrossValidation:
    """Train or resume one run, or one per fold, and show it; returns what `--json` writes."""
    from cxr_edge.reporting.html.plots import draw_run_plots
    from cxr_edge.reporting.terminal.metrics import show_cross_validation
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.reporting.terminal.training import TrainingDisplay
    from cxr_edge.shrinking.jobs import train_or_resume
    from cxr_edge.training.result import TrainingResult

    trained = train_or_resume(folder, stated, resuming, TrainingDisplay(draw_run_plots))
    if isinstance(trained, TrainingResult):
        show(f"next: cxr-edge export --run {folder}")
        return trained.metrics
    show_cross_validation(trained)
    return trained


def how_to_resume(folder: Path) -> str:
    """The message of an interrupted training: how to resume it, or why there is nothing to resume."""
    from cxr_edge.runs import Run

    if Run(folder).model_file.is_file():
        return "interrupted; the model is complete"
    for run in (Run(folder), *map(Run, folder.glob("fold-*"))):
        if run.best_weights.is_file() or run.model_file.is_file():
            return f"interrupted; resume with cxr-edge train --run {folder} --resume"
    return "interrupted before the first epoch ended; nothing was kept"
