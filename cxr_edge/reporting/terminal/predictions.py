"""What `predict` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.reporting.terminal.tables import percent, show, show_table


def show_predictions(result: dict[str, Any]) -> None:
    """One row a file, from the result of `cxr_edge.prediction.predict.predict`."""
    show_table(
        f"{result['artifact']} on {result['runtime']}",
        ["file", "decision", *(f"{label} %" for label in result["labels"])],
        [
            [
                Path(row["file"]).name,
                row.get("decision", row["label"]),
                *(percent(probability) for probability in row["probabilities"]),
            ]
            for row in result["rows"]
        ],
        texts=2,
    )
    if point := operating_point_of(result["operating_point"]):
        show(point.sentence)
    for row in result["rows"]:
        if "overlay" in row:
            show(f"{row['overlay']}: what speaks for {row['label']}")
        for warning in row.get("warnings", ()):
            show(f"warning: {row['file']}: {warning}")
    if result["chosen"]:
        show(result["chosen"])
    if result["warning"]:
        show(f"warning: {result['warning']}")
    show(result["notice"])
