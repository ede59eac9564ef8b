"""`cxr-edge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR"),
    ] = None,
) -> None:
    """Train, export, verify and bench on phantoms, in a few minutes."""
    from cxr_edge.demo import run_demo

    run_demo(run)
