"""The parity table, and the gate's last word."""

from __future__ import annotations

from typing import Any

from cxr_edge.errors import GateError
from cxr_edge.reporting.tables import PHANTOM_NOTE, percent, show, show_table


def show_parity(rows: list[dict[str, Any]], phantoms: bool) -> None:
    """One row an artifact, from the result of `cxr_edge.evaluation.parity.parity`."""
    if not rows:
        return
    show_table(
        f"Parity with Keras float32 (accuracy {percent(rows[0]['reference_accuracy'])} %) "
        f"on {rows[0]['images']} {rows[0]['part']} images",
        ["artifact", "MB", "accuracy %", "agreement %", "largest diff", "mean diff", "verdict"],
        [
            [
                row["artifact"],
                f"{row['bytes'] / 1e6:.1f}",
                percent(row["accuracy"]),
                percent(row["agreement"]),
                "-" if row["largest_difference"] is None else f"{row['largest_difference']:.4f}",
                "-" if row["mean_difference"] is None else f"{row['mean_difference']:.5f}",
                row["verdict"],
            ]
            for row in rows
        ],
    )
    if phantoms:
        show(PHANTOM_NOTE)


def gate_parity(rows: list[dict[str, Any]]) -> None:
    """Raises GateError naming every artifact that failed."""
    failed = [row for row in rows if row["verdict"] != "passed"]
    if failed:
        gate = failed[0]["gate"]
        found = "; ".join(
            f"{row['artifact']}: agreement {percent(row['agreement'])} %, accuracy {percent(row['accuracy'])} %"
            for row in failed
        )
        raise GateError(
            f"parity failed (demanded: agreement of {percent(gate['min_agreement'])} % and more, accuracy at most "
            f"{percent(gate['max_accuracy_drop'])} points under Keras): {found}"
        )
