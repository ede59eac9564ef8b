"""The page of `cxr-edge report` on several runs: accuracy against latency, in one plot and one table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.benchmarking.across import AcrossRuns, MeasuredArtifact
from cxr_edge.reporting.html.pages import page
from cxr_edge.reporting.html.plots import plain
from cxr_edge.reporting.html.report_plots import svg
from cxr_edge.reporting.terminal.metrics import with_bounds
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, machine_line

_COLUMNS = ("run", "artifact", "runtime", "threads", "MB", "test images", "accuracy", "p50 ms", "p90", "p99")


def render_comparison(across: AcrossRuns) -> str:
    """The page."""
    content: dict[str, object] = {
        "runs": list(dict.fromkeys(own.run for own in across.artifacts)),
        "version": __version__,
        "notice": NOTICE,
        "phantom_note": PHANTOM_NOTE if across.phantoms else "",
        "machine": machine_line(across.machine),
        "plot": Markup(svg(accuracy_against_latency(across.artifacts))),
        "columns": _COLUMNS,
        "rows": [_row(own) for own in sorted(across.artifacts, key=lambda own: own.row.one_figure_ms)],
        "warnings": across.warnings,
    }
    return page("comparison.html.j2", content)


def _row(own: MeasuredArtifact) -> list[str]:
    row = own.row
    times = (f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms))
    texts = (own.run, row.title, row.runtime, str(row.threads), f"{row.bytes / 1e6:.1f}", str(own.images))
    return [*texts, with_bounds(own.accuracy), *times]


def accuracy_against_latency(artifacts: Sequence[MeasuredArtifact]) -> Figure:
    """A dot with a 95 % interval per artifact and number of threads, a colour per run; latency is logarithmic."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    sweep = len({own.row.threads for own in artifacts}) > 1
    for run in dict.fromkeys(own.run for own in artifacts):
        rows = [own.row for own in artifacts if own.run == run]
        shares = [own.accuracy for own in artifacts if own.run == run]
        low, value, high = (
            [100 * (bound or 0.0) for bound in bounds]
            for bounds in zip(*((share.low, share.value, share.high) for share in shares), strict=True)
        )
        errors = [
            [middle - end for middle, end in zip(value, low, strict=True)],
            [end - middle for middle, end in zip(value, high, strict=True)],
        ]
        axes.errorbar(
            [row.one_figure_ms for row in rows], value, errors, fmt="o", capsize=3, linewidth=1, label=plain(run)
        )
        for row, accuracy in zip(rows, value, strict=True):
            name = row.artifact.removeprefix("xception-") + (f", {row.threads} thr." if sweep else "")
            axes.annotate(name, (row.one_figure_ms, accuracy), (4, 4), textcoords="offset points", fontsize="xx-small")
    axes.set(
        xscale="log", xlabel="p50 of one image, ms; of a cascade the mean", ylabel="accuracy, %, with 95 % interval"
    )
    axes.margins(x=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(fontsize="x-small", loc="outside lower center", ncols=3)
    return figure
