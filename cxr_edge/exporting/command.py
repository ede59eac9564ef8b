"""What `cxr-edge export` does around the export itself."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.bundle import Artifact
from cxr_edge.evaluation.parity import Gate
from cxr_edge.exporting.export import FORMATS, QUANTIZATIONS, Exporter, ExportOptions
from cxr_edge.files import write_json
from cxr_edge.quantization.finetune import FineTuneOptions
from cxr_edge.reporting.parity import gate_parity, show_parity
from cxr_edge.reporting.tables import show
from cxr_edge.runs import find_run


def _all_or(given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """`all` spelled out; repeated names once, in the order given."""
    return tuple(dict.fromkeys(name for one in given for name in (known if one == "all" else (one,))))


def run_export(
    folder: Path | None,
    formats: list[str],
    quantizations: list[str],
    qat_epochs: int | None,
    qat_learning_rate: float,
    gate: Gate,
    json: Path | None,
) -> list[Artifact]:
    """Export, show, and fail with GateError when an artifact fell short of the gate."""
    run = find_run(folder)
    epochs = qat_epochs if qat_epochs is not None else 1 if run.config()["options"]["data"] is None else 3
    options = ExportOptions(
        formats=_all_or(formats, FORMATS),
        quantizations=_all_or(quantizations, QUANTIZATIONS),
        fine_tuning=FineTuneOptions(epochs, qat_learning_rate),
        gate=gate,
    )
    options.check()
    artifacts = Exporter(run, options).export()
    rows = [{"artifact": artifact.name, "bytes": artifact.bytes, **(artifact.parity or {})} for artifact in artifacts]
    show_parity(rows, phantoms=run.config()["options"]["data"] is None)
    show(f"bundle: {run.bundle}")
    if json is not None:
        write_json(json, rows)
    gate_parity(rows)
    return artifacts
