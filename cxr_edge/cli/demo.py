"""`cxr-edge demo`: the whole way on phantoms, closed by one table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR"),
    ] = None,
) -> None:
    """Train, export, verify and bench on phantoms, in a few minutes."""
    from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
    from cxr_edge.benchmarking.bench import BenchOptions, bench
    from cxr_edge.exporting.command import run_export
    from cxr_edge.exporting.recipe import Recipe
    from cxr_edge.reporting.terminal.bench import show_bench
    from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table
    from cxr_edge.training.command import start_training

    start = time.monotonic()
    trained = start_training(run, {}, None)
    run_export(trained.folder, Recipe(tuple(ArtifactFormat), (Quantization.FLOAT32, Quantization.INT8)), None, 1e-2)
    record = bench(
        trained.bundle, BenchOptions(queries=30, seconds=0.5, starts=1, throughput_seconds=0.3, file_rounds=2)
    )
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
