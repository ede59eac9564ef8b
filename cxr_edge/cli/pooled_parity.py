"""Show, write and judge the artifacts of a cross-validation, for `export` and `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_edge.evaluation.pooled_parity import PooledParity


def report_pooled_parity(pooled: PooledParity, json: Path | None = None) -> None:
    """Show the parity, and write it to `json` if stated. Raises GateError if an artifact failed its gate."""
    from cxr_edge.artifacts.metadata import NOTICE
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.parity import gate_parity
    from cxr_edge.reporting.terminal.pooled_parity import show_pooled_parity
    from cxr_edge.reporting.terminal.tables import show

    show_pooled_parity(pooled)
    show(NOTICE)
    if json is not None:
        write_json(json, to_json(pooled))
    gate_parity(pooled.rows)
