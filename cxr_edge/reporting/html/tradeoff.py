"""The plot of accuracy against latency, of several runs or of a record of `benchmarks.tradeoff`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cxr_edge.intervals import Interval
from cxr_edge.reporting.html.plots import plain

#: Marker shapes of the series, in order; they repeat after a dozen.
_SHAPES = "os^DvP*X<>hd"


@dataclass(frozen=True)
class PlottedPoint:
    """A point: its series, which determines colour and shape, its label, its accuracy, and the time per image."""

    series: str
    name: str
    accuracy: Interval
    milliseconds: float


def accuracy_against_latency(points: Sequence[PlottedPoint], title: str = "") -> Figure:
    """A dot with a 95 % interval per point; latency is logarithmic."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for number, series in enumerate(dict.fromkeys(point.series for point in points)):
        members = [point for point in points if point.series == series]
        accuracies = [point.accuracy for point in members]
        low, value, high = (
            [100 * (bound or 0.0) for bound in bounds]
            for bounds in zip(*((share.low, share.value, share.high) for share in accuracies), strict=True)
        )
        errors = [
            [middle - end for middle, end in zip(value, low, strict=True)],
            [end - middle for middle, end in zip(value, high, strict=True)],
        ]
        times = [point.milliseconds for point in members]
        shape = _SHAPES[number % len(_SHAPES)]
        axes.errorbar(times, value, errors, fmt=shape, capsize=3, linewidth=1, label=plain(series))
        for point, accuracy in zip(members, value, strict=True):
            place = (point.milliseconds, accuracy)
            axes.annotate(plain(point.name), place, (5, 4), textcoords="offset points", fontsize="x-small")
    axes.set(
        title=plain(title),
        xscale="log",
        xlabel="p50 of one image, ms; of a cascade the mean",
        ylabel="accuracy, %, with 95 % interval",
    )
    axes.margins(x=0.1)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure.legend(fontsize="x-small", loc="outside lower center", ncols=4)
    return figure
