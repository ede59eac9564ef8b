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
    from cxr_edge.runtimes.selection import find_bundle

    write_report(find_bundle(bundle, run), output, with_images)


def write_report(bundle: Path, output: Path | None = None, with_images: bool = False) -> None:
    """Write the page and show its path; `demo` does the same."""
    from cxr_edge.benchmarking.record import read_record
    from cxr_edge.console import stage
    from cxr_edge.errors import DataError
    from cxr_edge.evaluation.advice import advise
    from cxr_edge.evaluation.conditions import Scope
    from cxr_edge.exporting.verify import compare_bundle, score_bundle
    from cxr_edge.files import write_text
    from cxr_edge.reporting.html.report import render
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import run_of

    path = output or run_of(bundle).folder / "report.html"
    # Results under shifts are read from the artifacts: they were measured at export.
    scored = score_bundle(bundle, Scope.of_labels(), stage)
    rows = compare_bundle(scored, {})
    record = None
    if scored.run.bench_file.is_file():
        try:
            record = read_record(scored.run.bench_file)
        except DataError as error:
            # From an earlier version: the page then has no latencies, and this says why.
            show(str(error))
    write_text(path, render(scored, rows, advise(rows), record, with_images))
    show(f"report: {path}")
