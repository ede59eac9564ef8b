"""`cxr-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption


def command(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder with a folder a class (in train/, validation/, test/, where it is split already), or a table "
            "of path,label[,patient_id,source,split].",
            show_default="phantoms",
            metavar="DIR|FILE.csv",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Pixels, at least 71.", show_default="160; phantoms 71")
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            "--resize",
            help="Stretch images to a square, or keep their proportions, on black; every artifact remembers.",
            show_default="stretch",
            metavar="stretch|pad",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="imagenet (official download), none (from scratch), or an .h5 file in the official no-top format.",
            show_default="imagenet; phantoms none",
            metavar="imagenet|none|FILE",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs on all layers.", show_default="8; from scratch 7")
    ] = None,
    head_epochs: Annotated[
        int | None,
        typer.Option("--head-epochs", help="Epochs on the head before that.", show_default="2; from scratch 0"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", show_default="16")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Peak.", show_default="2e-4; from scratch 1e-3")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="auto is mixed_float16 on a GPU, float32 elsewhere.",
            show_default="auto",
            metavar="auto|float32|mixed_bfloat16|mixed_float16",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", show_default="0")] = None,
    phantoms: Annotated[
        int | None, typer.Option("--phantoms", help="Phantoms a class, without --data.", show_default="180")
    ] = None,
    on_bad_image: Annotated[
        str | None,
        typer.Option(
            "--on-bad-image",
            help="Leave out images that cannot be decoded, naming them, or refuse to start.",
            show_default="skip",
            metavar="skip|fail",
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="Read a class that is otherwise left out; repeatable.", metavar="lung-opacity"),
    ] = None,
    hold_out_source: Annotated[
        str | None,
        typer.Option("--hold-out-source", help="Test on all images of one source, and on no other.", metavar="NAME"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option("--folds", help="Cross-validation: a run for each of so many test parts, and figures over all."),
    ] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", help="A single run, tested on this one of the folds, from 1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    json: JsonOption = None,
) -> None:
    """Train Xception on a folder of chest X-rays, or on phantoms."""
    from cxr_edge.training.command import resume_training, start_training
    from cxr_edge.training.folds import cross_validate, is_cross_validation, resume_folds

    given = {
        "data": None if data is None else str(data.resolve()),
        "image_size": image_size,
        "resize": resize,
        "weights": weights if weights in (None, "imagenet", "none") else str(Path(weights).resolve()),
        "epochs": epochs,
        "head_epochs": head_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
        "phantoms": phantoms,
        "on_bad_image": on_bad_image,
        "include": include or None,
        "hold_out_source": hold_out_source,
        "folds": folds,
        "fold": fold,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if folds is not None and fold is None and not resume:
        cross_validate(run, chosen, json)
    elif resume and run is not None and is_cross_validation(run):
        resume_folds(run, chosen, json)
    elif resume:
        resume_training(run, chosen, json)
    else:
        start_training(run, chosen, json)
