"""Accuracy against latency, from every record of `benchmarks.tradeoff`: a picture and a table."""

from __future__ import annotations

import json
from dataclasses import dataclass

from cxr_edge.intervals import Interval, wilson_interval
from cxr_edge.records import JsonObject
from cxr_edge.reporting.html.report_plots import svg
from cxr_edge.reporting.html.tradeoff import PlottedPoint, accuracy_against_latency
from cxr_edge.reporting.terminal.tables import markdown_table, percent
from documentation.tables import RESULTS

#: It computes something else here (half of its answers are right), and would take up half of the plot.
_LEFT_OUT = "tf2onnx.from_keras QAT"


@dataclass(frozen=True)
class _Measured:
    """The latest point of each file in all records, on the same images and machine."""

    images_of: str
    images: int
    cpu: str
    points: tuple[JsonObject, ...]


def _measured() -> _Measured:
    """Raises ValueError if records are of different images or machines: their points cannot be compared."""
    folder = RESULTS / "tradeoff"
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    latest = {
        (point["title"], point["runtime"]): point
        for record in sorted(records, key=lambda record: str(record["date"]))
        for point in record["points"]
        if point["title"] != _LEFT_OUT
    }
    points = sorted(latest.values(), key=_milliseconds)
    kinds = {
        (record["images_of"], point["images"], record["machine"]["cpu"])
        for record in records
        for point in record["points"]
    }
    if len(kinds) != 1:
        raise ValueError(f"{folder}: needs records of the same images on one machine, has {sorted(kinds)}")
    ((images_of, images, cpu),) = kinds
    return _Measured(images_of, images, cpu, tuple(points))


def _milliseconds(point: JsonObject) -> float:
    return float(point["latency"]["mean_ms" if point["kind"] == "cascade" else "p50_ms"])


def _accuracy(point: JsonObject) -> Interval:
    return wilson_interval(point["right"], point["images"])


def _plotted(point: JsonObject, named: bool) -> PlottedPoint:
    if point["kind"] == "other tool":
        series, name = f"{point['title']} ({point['runtime']})", ""
    else:
        model = "Xception" if point["kind"] == "full model" else point["kind"]
        series, name = f"ours: {model} ({point['runtime']})", f"{point['image_size']} px" if named else ""
    return PlottedPoint(series, name, _accuracy(point), _milliseconds(point))


def tradeoff_picture() -> str:
    """An SVG: a dot with a 95 % interval per int8 file or cascade; the same bytes for the same records."""
    measured = _measured()
    # Ours first: the first colours are the most distinct.
    fastest = {point["title"]: point["runtime"] for point in reversed(measured.points)}
    plotted = [_plotted(point, fastest[point["title"]] == point["runtime"]) for point in measured.points]
    points = sorted(plotted, key=lambda point: not point.series.startswith("ours"))
    title = f"int8, one thread, {measured.cpu}; accuracy on {measured.images} images of {measured.images_of}"
    return svg(accuracy_against_latency(points, title)) + "\n"


def tradeoff_table() -> str:
    """The points, the fastest first."""
    rows = []
    for point in _measured().points:
        accuracy = _accuracy(point)
        times = [f"{point['latency'][name]:.2f}" for name in ("p50_ms", "mean_ms", "p99_ms")]
        size = f"{point['bytes'] / 1e6:.1f}"
        cells = [percent(accuracy.value), f"{percent(accuracy.low)} to {percent(accuracy.high)}"]
        rows.append([point["title"], point["runtime"], size, *cells, *times])
    columns = ["int8", "runtime", "MB", "accuracy %", "95 % interval", "p50 ms", "mean ms", "p99 ms"]
    return markdown_table(columns, rows)
