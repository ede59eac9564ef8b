"""The page of `cxr-edge report` on several runs: accuracy against latency, in one plot and one table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.benchmarking.across import AcrossRuns, MeasuredArtifact
from cxr_edge.reporting.html.pages import page
from cxr_edge.reporting.html.report_plots import svg
from cxr_edge.reporting.html.tradeoff import PlottedPoint, accuracy_against_latency
from cxr_edge.reporting.terminal.metrics import with_bounds
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, machine_line

_COLUMNS = ("run", "artifact", "runtime", "threads", "MB", "test images", "accuracy", "p50 ms", "p90", "p99")


def render_comparison(across: AcrossRuns) -> str:
    """The page."""
    content: dict[str, object] = {
        "runs": list(dict.fromkeys(artifact.run for artifact in across.artifacts)),
        "version": __version__,
        "notice": NOTICE,
        "phantom_note": PHANTOM_NOTE if across.phantoms else "",
        "machine": machine_line(across.machine),
        "plot": Markup(svg(accuracy_against_latency(_points(across.artifacts)))),
        "columns": _COLUMNS,
        "rows": [_row(artifact) for artifact in sorted(across.artifacts, key=lambda each: each.row.one_figure_ms)],
        "warnings": across.warnings,
    }
    return page("comparison.html.j2", content)


def _row(artifact: MeasuredArtifact) -> list[str]:
    row = artifact.row
    times = (f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms))
    texts = (artifact.run, row.title, row.runtime, str(row.threads), f"{row.bytes / 1e6:.1f}", str(artifact.images))
    return [*texts, with_bounds(artifact.accuracy), *times]


def _points(artifacts: Sequence[MeasuredArtifact]) -> list[PlottedPoint]:
    """A series per run."""
    sweep = len({artifact.row.threads for artifact in artifacts}) > 1
    return [
        PlottedPoint(
            artifact.run,
            artifact.row.artifact.removeprefix("xception-") + (f", {artifact.row.threads} thr." if sweep else ""),
            artifact.accuracy,
            artifact.row.one_figure_ms,
        )
        for artifact in artifacts
    ]
