"""`cxr-edge audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption


def command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="What train --data takes, or a folder with a labels.csv (path,label).",
            show_default="the run's data",
            metavar="DIR|FILE.csv",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run whose split.csv says what is trained and tested on.", metavar="DIR"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write the result as one self-contained page.", metavar="FILE"),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show the pictures that are there twice in the page.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 when something serious is found.")] = False,
    json: JsonOption = None,
) -> None:
    """Look for what spoils a data set: unreadable files, copies, mixed-up labels and patients, shortcuts."""
    from cxr_edge.audit.command import run_audit

    run_audit(folder, run, html, with_images, strict, json)
