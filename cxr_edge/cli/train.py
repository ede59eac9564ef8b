"""`cxr-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption


def command(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder with a folder a class.", show_default="phantoms", metavar="DIR"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR"),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", help="Pixels, at least 71.", show_default="160; phantoms 71")
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    json: JsonOption = None,
) -> None:
    """Train Xception on a folder of chest X-rays, or on phantoms."""
    from cxr_edge.training.command import resume_training, start_training

    given = {
        "data": None if data is None else str(data.resolve()),
        "image_size": image_size,
        "weights": weights if weights in (None, "imagenet", "none") else str(Path(weights).resolve()),
        "epochs": epochs,
        "head_epochs": head_epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
        "phantoms": phantoms,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if resume:
        resume_training(run, chosen, json)
    else:
        start_training(run, chosen, json)
