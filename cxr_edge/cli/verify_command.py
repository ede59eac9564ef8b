"""What `cxr-edge verify` does around the comparison itself: against Keras where it can be had, by replay elsewhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.replay import replay
from cxr_edge.files import write_json
from cxr_edge.reporting.terminal.parity import gate_parity, gate_replay, show_parity, show_replay
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.runtimes.selection import find_bundle, run_of


def _without_keras(folder: Path) -> str | None:
    """Why a bundle cannot be compared with its Keras model here; None where it can."""
    if not Run(folder.resolve().parent).model_file.is_file():
        return "this bundle lies outside its run folder"
    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed here"
    return None


def verify_here(
    run: Path | None,
    bundle: Path | None,
    demands: dict[str, float],
    replaying: bool,
    runtimes: list[str] | None,
    threads: int | None,
    json: Path | None,
) -> None:
    """Verify, show, and raise GateError when an artifact failed.

    Raises:
        OptionError: an option of the other way was given.
    """
    folder = find_bundle(bundle, run)
    reason = _without_keras(folder)
    rows: list[dict[str, Any]]
    if replaying or reason is not None:
        if demands:
            raise OptionError(f"the gate's demands are for the Keras model{f', but {reason}' if reason else ''}")
        if not replaying:
            show(f"{reason}: no comparison with the Keras model, but with the outputs recorded at export")
        rows = replay(folder, [runtime_named(name) for name in runtimes] if runtimes else None, threads)
        show_replay(rows)
        judge = gate_replay
    else:
        if runtimes:
            raise OptionError("--runtime goes with --replay; against Keras each format runs on its preferred runtime")
        from cxr_edge.exporting.verify import verify_bundle

        rows = verify_bundle(folder, demands)
        show_parity(rows, phantoms=run_of(folder).phantoms)
        judge = gate_parity
    show(NOTICE)
    if json is not None:
        write_json(json, rows)
    judge(rows)
