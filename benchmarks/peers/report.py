"""The comparison as printed: the table, what is missing from it and why, and the targets."""

from __future__ import annotations

from benchmarks.peers.measure import KERAS
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.records import JsonObject
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table
from cxr_edge.runtimes.base import all_runtimes

_TITLES = {runtime.name: runtime.title for runtime in all_runtimes()} | {KERAS: "Keras"}


def _figure(value: float | None) -> str:
    """As many decimals as fit in five characters, two at most; a dash where there is nothing."""
    return "-" if value is None else f"{value:.{2 if value < 99.995 else 1}f}"


def show_rows(record: JsonObject) -> None:
    """One line per row; under the table, why a row has no figures."""
    columns = ["file", "runtime", "MB", "acc.\n%", "same\n%"]
    for threads in record["threads"]:
        columns += [f"{threads} thr.\np50", "\np90", "of\nbest"]
    lines = []
    for row in record["rows"]:
        size = "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
        line = [row["title"], _TITLES[row["runtime"]], size]
        line += [percent(row["accuracy"]), percent(row["agreement"])]
        for threads in record["threads"]:
            latency = row["latency"].get(str(threads), {})
            line += [_figure(latency.get(name)) for name in ("p50_ms", "p90_ms", "ratio_to_best_peer")]
        lines.append(line)
    title = f"The peers, side by side: {record['image_size']} px, {record['machine']['cpu']}"
    show_table(title, columns, lines, texts=2)
    for row in record["rows"]:
        if row["reason"]:
            show(f"{row['title']} ({_TITLES[row['runtime']]}): {row['reason']}")
    show("p50, p90: ms. of best: p50 against that of the fastest row that is not ours.")
    show(f"acc., same: accuracy, and top-1 agreement with the trained model, on {record['images']} test images.")
    if record["trained_on"] == "phantoms":
        show(PHANTOM_NOTE)
    show(NOTICE)


def show_targets(targets: list[JsonObject]) -> None:
    """A line a target and number of threads."""
    lines = []
    for target in targets:
        verdict = {True: "reached", False: "missed", None: "not measured"}[target["reached"]]
        interval = ""
        if target.get("low") is not None:
            interval = f"{target['low']:.3f}-{target['high']:.3f}"
            verdict += ", in the noise" if target["low"] <= target["limit"] < target["high"] else ""
        threads = str(target["threads"] or "")
        ratio = "-" if target["ratio"] is None else f"{target['ratio']:.3f}"
        lines.append([target["title"], threads, f"{target['limit']:.2f}", ratio, interval, verdict])
    title = "Targets (ONNX on ONNX Runtime, TFLite on LiteRT, NNCF's faster file on OpenVINO)"
    show_table(title, ["ratio", "thr.", "at most", "found", "95 % interval", "verdict"], lines)
