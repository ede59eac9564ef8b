"""What `cxr-edge export` does around the export itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.evaluation.advice import advise
from cxr_edge.evaluation.operating_record import operating_record_of
from cxr_edge.evaluation.replay import FILE
from cxr_edge.exporting.export import Exporter, ExportOptions
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.exporting.verify import recorded
from cxr_edge.files import write_json
from cxr_edge.quantization.finetune import FineTuneOptions
from cxr_edge.quantization.sensitivity import rows_of, sensitivity
from cxr_edge.reporting.terminal.operating import show_exported_points
from cxr_edge.reporting.terminal.parity import gate_parity, show_advice, show_parity
from cxr_edge.reporting.terminal.sensitivity import show_sensitivity
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run, find_run
from cxr_edge.training.classifier import compiled, predict_probabilities


def run_export(
    folder: Path | None,
    recipe: Recipe,
    qat_epochs: int | None,
    qat_learning_rate: float,
    sensitive_class: str | None = None,
    sensitivity: float = ExportOptions.sensitivity,
    folds: Path | None = None,
    json: Path | None = None,
) -> list[Artifact]:
    """Export, show, and fail with GateError when an artifact fell short of the gate."""
    exporter = exporter_of(folder, recipe, qat_epochs, qat_learning_rate, sensitive_class, sensitivity, folds)
    exported = exporter.export()
    artifacts = list(exported.artifacts)
    for note in exported.notes:
        show(note)
    rows = [recorded(artifact) for artifact in artifacts]
    show_parity(rows, phantoms=exporter.run.phantoms)
    show_advice(advise([recorded(artifact) for artifact in listed_artifacts(exporter.bundle) if artifact.parity]))
    points = {artifact.name: operating_record_of(artifact.metadata.operating_point) for artifact in artifacts}
    show_exported_points({name: record for name, record in points.items() if record is not None})
    references = exporter.bundle / FILE
    show(f"bundle: {exporter.bundle}; its reference inputs: {references.stat().st_size / 1e6:.2f} MB")
    if json is not None:
        write_json(json, [row.to_json() for row in rows])
    gate_parity(rows)
    return artifacts


def exporter_of(
    folder: Path | None,
    recipe: Recipe,
    qat_epochs: int | None,
    qat_learning_rate: float,
    sensitive_class: str | None,
    sensitivity: float,
    folds: Path | None,
) -> Exporter:
    """What exports a run as the options of `cxr-edge export` say. Raises OptionError, RunError."""
    run, options = _prepared(folder, recipe, qat_epochs, qat_learning_rate)
    options = replace(options, sensitive_class=sensitive_class, sensitivity=sensitivity, folds=folds)
    options.check()
    return Exporter(run, options)


#: A layer's loss shows in the signal-to-noise ratio of few images; the table takes a forward pass of all of them a row.
EXPLAIN_IMAGES = 100


def run_explain(folder: Path | None, recipe: Recipe, json: Path | None) -> dict[str, Any]:
    """Show and return the sensitivity table of a run, calibrated as an export would; no artifact is written."""
    run, options = _prepared(folder, recipe, None, FineTuneOptions().learning_rate)
    exporter = Exporter(run, options)
    ranges = exporter.quantized.ranges()
    images = decoded(exporter.split, "validation", exporter.image_size)
    targets = exporter.split.targets("validation")
    chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:EXPLAIN_IMAGES])
    with progress_bar("one at a time in int8", rows_of(exporter.graph)) as bar:
        rows = sensitivity(exporter.graph, ranges, np.asarray(images[chosen]), targets[chosen], bar.tick)
    reference = predict_probabilities(compiled(exporter.model), np.asarray(images[chosen]))
    found = {
        "images": len(chosen),
        "part": "validation",
        "float_accuracy": float((reference.argmax(axis=1) == targets[chosen]).mean()),
        "rows": rows,
    }
    show_sensitivity(found)
    if json is not None:
        write_json(json, found)
    return found


def _prepared(
    folder: Path | None, recipe: Recipe, qat_epochs: int | None, qat_learning_rate: float
) -> tuple[Run, ExportOptions]:
    run = find_run(folder)
    epochs = qat_epochs if qat_epochs is not None else 1 if run.phantoms else 3
    options = ExportOptions(recipe, FineTuneOptions(epochs, qat_learning_rate))
    options.check()
    return run, options
