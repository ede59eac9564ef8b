"""`cxr-edge report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import BundleOption, RunOption


def command(
    run: RunOption = None,
    bundle: BundleOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="The page.", show_default="report.html in the run", metavar="FILE"),
    ] = None,
    with_images: Annotated[bool, typer.Option("--with-images", help="Show the flipped images in the page.")] = False,
) -> None:
    """Write one self-contained HTML page on a run: training, accuracy, parity, calibration, latency."""
    from cxr_edge.reporting.html.report import write_report
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import find_bundle, run_of

    folder = find_bundle(bundle, run)
    path = output or run_of(folder).folder / "report.html"
    write_report(folder, path, with_images)
    show(f"report: {path}")
