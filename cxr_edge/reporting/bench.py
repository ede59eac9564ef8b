"""The latency table."""

from __future__ import annotations

from typing import Any

from cxr_edge.bundle import NOTICE
from cxr_edge.reporting.tables import PHANTOM_NOTE, percent, show, show_table


def show_bench(record: dict[str, Any]) -> None:
    """One row a candidate, fastest first, from the record of `cxr_edge.benchmarking.bench.bench`."""
    machine, images = record["machine"], record["images"]
    show_table(
        f"Single-stream latency, {record['image_size']} px, {record['threads']} threads, {machine['cpu']}",
        ["artifact", "runtime", "MB", "acc. %", "load ms", "p50 ms", "p90", "p99", "img/s", "speed"],
        [
            [
                row["artifact"],
                row["runtime"],
                f"{row['bytes'] / 1e6:.1f}",
                percent(row["accuracy"]),
                f"{row['load_ms']:.0f}",
                f"{row['p50_ms']:.2f}",
                f"{row['p90_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                f"{row['images_per_second']:.0f}",
                f"{row['speed_up']:.2f}x",
            ]
            for row in record["rows"]
        ],
        texts=2,
    )
    queries = min(row["queries"] for row in record["rows"])
    show(f"speed: against {record['baseline']}; p50, p90, p99 in ms, over {queries} queries and more")
    if decode := images.get("decode_and_resize"):
        show(
            f"decode and resize of {images['count']} files: p50 {decode['p50_ms']:.1f} ms, "
            f"p90 {decode['p90_ms']:.1f} ms, worst {decode['worst_ms']:.1f} ms; not in the latencies above"
        )
    for note in record["notes"]:
        show(f"note: {note}")
    if record["trained_on"] == "phantoms":
        show(f"Accuracy: {PHANTOM_NOTE}")
    show(NOTICE)
