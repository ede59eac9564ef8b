"""What `export --explain-int8` prints."""

from __future__ import annotations

from typing import Any

from cxr_edge.reporting.terminal.tables import percent, show, show_table

#: Layers in the table; the JSON has all.
WORST = 15


def show_sensitivity(found: dict[str, Any]) -> None:
    """Everything and the groups, then the layers that lose most, from `cxr_edge.exporting.command.run_explain`."""
    rows = [row for row in found["rows"] if row["kind"] != "layer"]
    layers = [row for row in found["rows"] if row["kind"] == "layer"]
    show_table(
        f"One at a time in int8, the rest in float: {found['images']} validation images "
        f"(float accuracy {percent(found['float_accuracy'])} %)",
        ["", "in int8", "SNR dB", "accuracy %", "agreement %"],
        [
            [
                row["kind"],
                row["name"],
                "-" if row["snr_db"] is None else f"{row['snr_db']:.1f}",
                percent(row["accuracy"]),
                percent(row["agreement"]),
            ]
            for row in [*rows, *layers[:WORST]]
        ],
        texts=2,
    )
    show(
        f"{min(WORST, len(layers))} of {len(layers)} layers, the worst first; ranges as calibrated, nothing fine-tuned"
    )
    show(f"leave one in float: cxr-edge export --quantize int8 --keep-float {layers[0]['name']}")
