"""`cxr-edge report`: all that is known of a run in one page that needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.benchmarking.record import BenchRecord, Row, read_record
from cxr_edge.errors import DataError
from cxr_edge.evaluation.metrics import confusion_matrix
from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.evaluation.operating_figures import operating_figures
from cxr_edge.evaluation.operating_record import operating_record_of
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.files import write_text
from cxr_edge.machine import describe_machine
from cxr_edge.reporting.html import report_plots
from cxr_edge.reporting.html.pages import page, thumbnail
from cxr_edge.reporting.terminal.bench import speed_cell
from cxr_edge.reporting.terminal.parity import undecided_line
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import read_history

if TYPE_CHECKING:
    from cxr_edge.exporting.verify import ScoredBundle

KERAS = "Keras float32"


def write_report(folder: Path, output: Path, with_images: bool) -> None:
    """Score a bundle's artifacts on the test split and write the page, atomically.

    Args:
        folder: a bundle in its run's folder. The bench of that run is in the page if there is one.
        output: the .html file.
        with_images: show the flipped images. Without, no pixel of the data set is in the page.

    Raises:
        ArtifactError, RunError, MissingDependencyError: as `score_bundle`.
    """
    from cxr_edge.exporting.verify import score_bundle

    scored = score_bundle(folder)
    write_text(output, render(scored, _bench_of(scored.run), with_images))


def _bench_of(run: Run) -> BenchRecord | None:
    if not run.bench_file.is_file():
        return None
    try:
        return read_record(run.bench_file)
    except DataError as error:
        # Of an earlier version: the page says that there is none, and this why.
        show(str(error))
        return None


def render(scored: ScoredBundle, bench: BenchRecord | None, with_images: bool) -> str:
    """The page, from scored artifacts and the record of a benchmark."""
    content = _content(scored, bench, with_images)
    return page("report.html.j2", content, percent=percent, figure=_figure, probabilities=_probabilities)


def _content(scored: ScoredBundle, bench: BenchRecord | None, with_images: bool) -> dict[str, Any]:
    from cxr_edge.exporting.verify import compared

    run, split, labels = scored.run, scored.split, scored.split.labels
    config, targets = run.config(), scored.split.targets("test")
    rows = compared(scored, {})
    probabilities = {KERAS: scored.reference, **{artifact.name: found for artifact, _, found in scored.artifacts}}
    phantoms = run.phantoms
    models = []
    for name, found in probabilities.items():
        row, whose = next((row, "artifact") for row in rows if name in (row["artifact"], KERAS))
        whose = "reference" if name == KERAS else whose
        calibration = row["calibration_error"]
        models.append(
            {
                "name": name,
                "accuracy": row["intervals"]["reference_accuracy" if name == KERAS else "accuracy"],
                "classes": [
                    {
                        "label": one["label"],
                        "images": one["images"],
                        **{figure: one[figure][whose] for figure in ("sensitivity", "specificity")},
                    }
                    for one in row["classes"]
                ],
                "confusion": confusion_matrix(targets, found.argmax(axis=1), len(labels)).tolist(),
                "calibration": (calibration[f"{whose}_unscaled"], calibration[whose]),
            }
        )
    distinct = _of_each_quantization(scored)
    undo = 1 / scored.temperature
    machine = describe_machine()
    return {
        "run": {"name": run.folder.resolve().name},
        "version": __version__,
        "notice": NOTICE,
        "phantoms": phantoms,
        "phantom_note": PHANTOM_NOTE,
        "labels": labels,
        "config": config,
        "parts": {part: len(split.part(part)) for part in ("train", "validation", "test")},
        "start": {"none": "from scratch", "imagenet": "ImageNet"}.get(config.options.weights, "a weights file"),
        "limits": _limits(config),
        "images": len(targets),
        "models": models,
        "parity": [
            {**row, "drop": f"{0 - 100 * row['intervals']['accuracy_difference']['value']:.2f}"} for row in rows
        ],
        "undecided": [line] if (line := undecided_line(rows)) else [],
        "flipped": [
            {
                **{key: image[key] for key in ("image", "label", "reference")},
                "artifact": row["artifact"],
                "found": image["artifact"],
                "thumbnail": thumbnail(split.root / image["image"]) if with_images else None,
            }
            for row in rows
            for image in row["flipped"]
        ],
        "with_images": with_images,
        "temperature": scored.temperature,
        "operating": _operating_rows(scored),
        "bench": bench,
        "bench_rows": [_bench_row(row) for row in bench.rows] if bench else [],
        "machine": [
            *((name, getattr(machine, name)) for name in ("cpu", "cores", "architecture", "system", "python")),
            ("instruction sets", ", ".join(machine.instruction_sets)),
            *machine.packages.items(),
        ],
        "plots": {
            name: Markup(drawing)
            for name, drawing in {
                "learning_curves": report_plots.learning(read_history(run.history_file)),
                "curves": report_plots.class_curves(targets, distinct, labels),
                "reliability": report_plots.reliability(
                    targets, {name: (apply_temperature(found, undo), found) for name, found in distinct.items()}
                ),
                "tradeoff": report_plots.tradeoff(bench.rows) if bench else "",
            }.items()
        },
    }


def _operating_rows(scored: ScoredBundle) -> list[dict[str, Any]]:
    """The rule of each artifact that has one, what it promises, and what it does on the test split."""
    rows = []
    for artifact, _, probabilities in scored.artifacts:
        value = artifact.metadata.operating_point
        if (point := operating_point_of(value)) is not None:
            record = operating_record_of(value)
            figures = operating_figures(point, probabilities, scored.split.targets("test"), scored.split.labels)
            rows.append({"artifact": artifact.name, "point": point, "record": record, "figures": figures})
    return rows


def _of_each_quantization(scored: ScoredBundle) -> dict[str, Any]:
    """Keras and the first artifact of each integer quantization: the lines of the others would coincide with these."""
    found = {KERAS: scored.reference}
    for artifact, _, probabilities in scored.artifacts:
        if artifact.quantization.is_integer:
            found.setdefault(artifact.quantization, probabilities)
    return found


def _limits(config: RunConfig) -> list[str]:
    """What is known to limit the data set's worth."""
    if config.phantoms:
        return ["Phantoms are drawn by rules: what holds on them says nothing about patients."]
    total = sum(config.images.values())
    limits = [
        f"The patients of {config.images_with_patient} of {total} images are known to the split; of the "
        "others, pictures of one patient may lie on both sides of it, which flatters every figure here.",
    ]
    if source := config.options.hold_out_source:
        limits.append(f"All test images come from one source, {source}, that no training image comes from.")
    else:
        limits.append(
            "Test images come from the same collection as training images. Other hospitals and devices were not tried."
        )
    if found := config.leaks:
        limits.append(
            f"The data came split, and {len(found)} patients or images lie in several parts, {found[0]} first."
        )
    if skipped := config.skipped:
        limits.append(
            f"{len(skipped)} of {total + len(skipped)} images could not be decoded and are in no part of the split; "
            "run.json lists them."
        )
    if {"COVID-19", "Viral Pneumonia"} <= set(config.images):
        limits.append(
            "In the COVID-19 Radiography Database, Viral Pneumonia comes from one paediatric site, the other classes "
            "from adults: a model can score by age or site. If this is that data, every accuracy is an upper bound."
        )
    return limits


def _bench_row(row: Row) -> list[str]:
    return [
        row.artifact,
        row.runtime,
        f"{row.bytes / 1e6:.1f}",
        percent(row.accuracy),
        *(f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)),
        f"{row.images_per_second:.0f}",
        speed_cell(row),
    ]


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _probabilities(values: list[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)
