"""`cxr-edge report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.options import BundleOption

if TYPE_CHECKING:
    from cxr_edge.artifacts.artifact import Artifact
    from cxr_edge.benchmarking.record import BenchRecord
    from cxr_edge.runs import Run

_Runs = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        help="Run: its folder, or its name under runs/. Several are compared: accuracy against latency in one plot.",
        show_default="the latest under runs/",
        metavar="DIR",
    ),
]


def command(
    runs: _Runs = None,
    bundle: BundleOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="The page.",
            show_default="report.html in the run; of several runs, comparison.html here",
            metavar="FILE",
        ),
    ] = None,
    with_images: Annotated[bool, typer.Option("--with-images", help="Show the flipped images on the page.")] = False,
) -> None:
    """Write one self-contained HTML page: a run's training, accuracy, parity and latency, or a comparison of runs."""
    from cxr_edge.errors import OptionError
    from cxr_edge.runtimes.selection import find_bundle

    if runs is not None and len(runs) > 1:
        if bundle is not None or with_images:
            raise OptionError("--bundle and --with-images are for the report of a single run")
        _write_comparison(runs, output or Path("comparison.html"))
        return
    write_report(find_bundle(bundle, runs[0] if runs else None), output, with_images)


def _write_comparison(runs: list[Path], output: Path) -> None:
    from cxr_edge.benchmarking.across import across_runs
    from cxr_edge.files import write_text
    from cxr_edge.reporting.html.comparison import render_comparison
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runs import find_run

    across = across_runs([find_run(run) for run in runs])
    for warning in across.warnings:
        show(f"warning: {warning}")
    write_text(output, render_comparison(across))
    show(f"report: {output}")


def write_report(bundle: Path, output: Path | None = None, with_images: bool = False) -> None:
    """Write the page and show its path; `demo` does the same."""
    from cxr_edge.console import stage
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
    record = _bench_of(scored.run, [artifact for artifact, _, _ in scored.artifacts])
    write_text(path, render(scored, rows, advise(rows), record, with_images))
    show(f"report: {path}")


def _bench_of(run: Run, artifacts: Sequence[Artifact]) -> BenchRecord | None:
    """The run's benchmark; if it cannot be used, show why the page has no latencies."""
    from cxr_edge.benchmarking.record import read_record
    from cxr_edge.errors import DataError
    from cxr_edge.reporting.terminal.tables import show

    if not run.bench_file.is_file():
        return None
    try:
        record = read_record(run.bench_file)
    except DataError as error:
        # Written by an earlier version.
        show(str(error))
        return None
    if not record.is_of({file.sha256 for artifact in artifacts for file in (artifact, *artifact.members)}):
        show(f"{run.bench_file}: measured on other files than the bundle's; not in the report, bench again")
        return None
    return record
