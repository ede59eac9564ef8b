"""`cxr-edge train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxr_edge.choices import OnBadImage, Precision, Resize
from cxr_edge.cli.options import OUTPUT, ConfigOption, JsonOption, LikeOption, NewRunOption
from cxr_edge.cli.spread import spread

if TYPE_CHECKING:
    from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics

#: Where help shows an option.
DATA, SPLIT, TRAINING = "Data", "Split", "Training"


@dataclass(frozen=True)
class GivenOptions:
    """What may be given of `cxr_edge.runs.options.TrainOptions`, by its names; None for what is not."""

    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with one folder per class (in train/, validation/, test/, where it is split already), or a "
            "table of path,label[,patient_id,source,split].",
            show_default="phantoms",
            metavar="DIR|FILE.csv",
            rich_help_panel=DATA,
        ),
    ] = None
    image_size: Annotated[
        int | None,
        typer.Option(help="Pixels, at least 71.", show_default="160; phantoms 71", rich_help_panel=DATA),
    ] = None
    resize: Annotated[
        Resize | None,
        typer.Option(
            help="Stretch images to a square, or keep their proportions, on black; every artifact remembers.",
            show_default="stretch",
            rich_help_panel=DATA,
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(
            help="imagenet (official download), none (from scratch), or an .h5 file in the official no-top format.",
            show_default="imagenet; phantoms none",
            metavar="imagenet|none|FILE",
            rich_help_panel=TRAINING,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs on all layers.", show_default="8; from scratch 7", rich_help_panel=TRAINING),
    ] = None
    head_epochs: Annotated[
        int | None,
        typer.Option(
            help="Epochs on the head before that.", show_default="2; from scratch 0", rich_help_panel=TRAINING
        ),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Images per step.", show_default="16", rich_help_panel=TRAINING)
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak.", show_default="2e-4; from scratch 1e-3", rich_help_panel=TRAINING)
    ] = None
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="auto (mixed_float16 on a GPU, float32 elsewhere), float32, mixed_bfloat16 or mixed_float16.",
            show_default="auto",
            metavar="PRECISION",
            rich_help_panel=TRAINING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(help="Of the split, the weights and the batches.", show_default="0", rich_help_panel=TRAINING),
    ] = None
    phantoms: Annotated[
        int | None,
        typer.Option(help="Phantoms per class, without --data.", show_default="180", rich_help_panel=DATA),
    ] = None
    on_bad_image: Annotated[
        OnBadImage | None,
        typer.Option(
            help="Leave out images that cannot be decoded, naming them, or refuse to start.",
            show_default="skip",
            rich_help_panel=DATA,
        ),
    ] = None
    include: Annotated[
        list[str] | None,
        typer.Option(
            help="Read a class that is otherwise left out; repeatable.", metavar="lung-opacity", rich_help_panel=DATA
        ),
    ] = None
    hold_out_source: Annotated[
        str | None,
        typer.Option(help="Test on all images of one source, and on no other.", metavar="NAME", rich_help_panel=SPLIT),
    ] = None
    folds: Annotated[
        int | None,
        typer.Option(
            help="Cross-validation: one run for each of so many test parts, and figures over all of them.",
            rich_help_panel=SPLIT,
        ),
    ] = None
    fold: Annotated[
        int | None,
        typer.Option(help="A single run, tested on this one of the folds, from 1.", rich_help_panel=SPLIT),
    ] = None

    def by_name(self) -> Mapping[str, Any]:
        """Those that are given, as `TrainOptions` has them."""
        from cxr_edge.runs.options import given_options

        given = asdict(self)
        return given_options(given.pop("data"), given)


@spread("options")
def command(
    options: GivenOptions,
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
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runs import latest_run, new_run

    target = latest_run() if resume and run is None else new_run(run)
    given = options.by_name()
    with interruptible(lambda: _how_to_resume(target.folder)):
        show(f"training in {target.folder}")
        result = _trained(target.folder, given, resume)
    if json is not None:
        write_json(json, to_json(result))


def _trained(folder: Path, given: Mapping[str, Any], resuming: bool) -> RunMetrics | CrossValidation:
    """Train, or resume, one run or one per fold, and show it; what `--json` writes."""
    from cxr_edge.reporting.html.plots import draw_run_plots
    from cxr_edge.reporting.terminal.metrics import show_cross_validation
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.reporting.terminal.training import TrainingDisplay
    from cxr_edge.training.folds import train_or_resume
    from cxr_edge.training.result import TrainingResult

    trained = train_or_resume(folder, given, resuming, TrainingDisplay(draw_run_plots))
    if isinstance(trained, TrainingResult):
        show(f"next: cxr-edge export --run {folder}")
        return trained.metrics
    show_cross_validation(trained)
    return trained


def _how_to_resume(folder: Path) -> str:
    from cxr_edge.runs import Run

    if Run(folder).model_file.is_file():
        return "interrupted; the model is complete"
    for run in (Run(folder), *map(Run, folder.glob("fold-*"))):
        if run.checkpoints.is_dir() or run.model_file.is_file():
            return f"interrupted; resume with cxr-edge train --run {folder} --resume"
    return "interrupted before an epoch was finished: nothing is kept"
