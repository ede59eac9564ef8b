"""`cxr-edge demo`: the whole way on phantoms, closed by one table."""

from __future__ import annotations

import time
from pathlib import Path

from cxr_edge.benchmarking.bench import BenchOptions, bench
from cxr_edge.exporting.command import run_export
from cxr_edge.exporting.recipe import FORMATS, Recipe
from cxr_edge.reporting.bench import show_bench
from cxr_edge.reporting.tables import PHANTOM_NOTE, percent, show, show_table
from cxr_edge.training.command import start_training


def run_demo(folder: Path | None) -> None:
    """Train on phantoms, export float32 and int8, verify, bench, and show the outcome. Raises as these do."""
    start = time.monotonic()
    run = start_training(folder, {}, None)
    run_export(run.folder, Recipe(FORMATS, ("none", "int8")), None, 3e-5)
    record = bench(run.bundle, BenchOptions(queries=30, seconds=0.5, starts=1, throughput_seconds=0.3, file_rounds=2))
    show_bench(record)
    show_table(
        "Demo on phantoms",
        ["artifact", "runtime", "MB", "accuracy %", "agreement with Keras %", "p50 ms", "speed-up"],
        [
            [
                row["artifact"],
                row["runtime"],
                f"{row['bytes'] / 1e6:.1f}",
                percent(row["accuracy"]),
                percent(row.get("agreement")),
                f"{row['p50_ms']:.2f}",
                f"{row['speed_up']:.2f}x",
            ]
            for row in record["rows"]
        ],
        texts=2,
    )
    show(PHANTOM_NOTE)
    show(f"{(time.monotonic() - start) / 60:.1f} minutes; next: cxr-edge train --data DIR on your own images")
