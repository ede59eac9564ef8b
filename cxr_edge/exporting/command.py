"""What `cxr-edge export` does around the export itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.layouts import image_files
from cxr_edge.errors import DataError
from cxr_edge.evaluation.advice import advise
from cxr_edge.evaluation.operating_record import operating_record_of
from cxr_edge.evaluation.replay import FILE
from cxr_edge.exporting.export import Exporter, ExportOptions
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.exporting.verify import recorded
from cxr_edge.files import write_json
from cxr_edge.imaging.decode import load_image
from cxr_edge.quantization.explain import Noise, explain, rows_of
from cxr_edge.quantization.learn import LearningOptions
from cxr_edge.records import to_json
from cxr_edge.reporting.terminal.explanation import show_explanation
from cxr_edge.reporting.terminal.operating import show_exported_points
from cxr_edge.reporting.terminal.parity import gate_parity, show_advice, show_parity
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run, find_run
from cxr_edge.training.compute_device import compute_device

#: Steps of fine-tuning on phantoms: the demo's, to see that it works.
PHANTOM_STEPS = 60


def run_export(
    folder: Path | None,
    recipe: Recipe,
    qat_steps: int | None,
    qat_learning_rate: float,
    sensitive_class: str | None = None,
    sensitivity: float = ExportOptions.sensitivity,
    folds: Path | None = None,
    json: Path | None = None,
) -> list[Artifact]:
    """Export, show, and fail with GateError when an artifact fell short of the gate."""
    exporter = exporter_of(folder, recipe, qat_steps, qat_learning_rate, sensitive_class, sensitivity, folds)
    show(f"exporting on {compute_device()}")
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
    qat_steps: int | None,
    qat_learning_rate: float,
    sensitive_class: str | None,
    sensitivity: float,
    folds: Path | None,
) -> Exporter:
    """What exports a run as the options of `cxr-edge export` say. Raises OptionError, RunError."""
    run, options = _prepared(folder, recipe, qat_steps, qat_learning_rate)
    options = replace(options, sensitive_class=sensitive_class, sensitivity=sensitivity, folds=folds)
    options.check()
    return Exporter(run, options)


#: A tensor's noise shows in few images; the table takes a forward pass of all of them per row.
EXPLAIN_IMAGES = 64


@dataclass(frozen=True)
class Explanation:
    """`explain`'s rows, of which images and how many."""

    images: int
    source: str
    labels: tuple[str, ...]
    rows: tuple[Noise, ...]


def run_explain(folder: Path | None, recipe: Recipe, data: Path | None, json: Path | None) -> Explanation:
    """Show and return where the noise of a run's int8-ptq comes from; no artifact is written.

    Args:
        folder: the run; None for the latest.
        recipe: its layers in float, and its activations.
        data: a folder or table of images to look at; None for the run's validation split.
        json: where to write it.
    """
    run, options = _prepared(folder, recipe, None, LearningOptions().learning_rate)
    exporter = Exporter(run, options)
    quantized = exporter.quantized.quantized_graph(fine_tuned=False)
    images = _validation_images(exporter) if data is None else _images_of(data, exporter)
    with progress_bar("one at a time in int8", rows_of(quantized)) as bar:
        rows = explain(exporter.quantized.equalized_graph(), quantized, images, bar.tick)
    source = "validation images" if data is None else f"images of {data}"
    explanation = Explanation(len(images), source, exporter.split.labels, tuple(rows))
    show_explanation(explanation)
    if json is not None:
        write_json(json, to_json(explanation))
    return explanation


def _validation_images(exporter: Exporter) -> NDArray[np.uint8]:
    images = decoded(exporter.split, "validation", exporter.image_size)
    return np.asarray(images[np.sort(np.random.default_rng(0).permutation(len(images))[:EXPLAIN_IMAGES])])


def _images_of(data: Path, exporter: Exporter) -> NDArray[np.uint8]:
    """A seeded choice of a folder's images, uint8 `[N, S, S, 1]`. Raises DataError where none can be used."""
    paths = image_files(data)
    if not paths:
        raise DataError(f"{data}: no images in it")
    chosen = [paths[index] for index in np.sort(np.random.default_rng(0).permutation(len(paths))[:EXPLAIN_IMAGES])]
    return np.stack([load_image(path, exporter.image_size, exporter.split.resize) for path in chosen])[..., None]


def _prepared(
    folder: Path | None, recipe: Recipe, qat_steps: int | None, qat_learning_rate: float
) -> tuple[Run, ExportOptions]:
    run = find_run(folder)
    usual = LearningOptions.steps if not run.phantoms else PHANTOM_STEPS
    options = ExportOptions(recipe, LearningOptions(usual if qat_steps is None else qat_steps, qat_learning_rate))
    options.check()
    return run, options
