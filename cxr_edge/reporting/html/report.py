"""The page of `cxr-edge report`: everything about a run, in one file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.benchmarking.record import BenchRecord, Row
from cxr_edge.evaluation.advice import Advice
from cxr_edge.evaluation.metrics import confusion_matrix
from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.evaluation.operating_figures import operating_figures
from cxr_edge.evaluation.operating_record import operating_record_of, rounded_down, rounded_up
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.machine import describe_machine
from cxr_edge.reporting.html import report_plots
from cxr_edge.reporting.html.pages import page, thumbnail
from cxr_edge.reporting.terminal.bench import speed_cell
from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_lines
from cxr_edge.reporting.terminal.parity import (
    advice_table,
    condition_cells,
    condition_columns,
    figure,
    least_agreeing,
    shown_conditions,
    undecided_line,
)
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, machine_line, percent
from cxr_edge.reporting.terminal.training import student_line
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import read_history
from cxr_edge.runs.limits import limits

if TYPE_CHECKING:
    from cxr_edge.exporting.verify import ScoredBundle

KERAS = "Keras float32"


def render(
    scored: ScoredBundle,
    rows: Sequence[VerifiedArtifact],
    advice: Advice | None,
    bench: BenchRecord | None,
    with_images: bool,
) -> str:
    """The page.

    Args:
        scored: the artifacts' probabilities on the test split.
        rows: their parity, in the order of `scored.artifacts`.
        advice: which integer artifact to use.
        bench: the record of a benchmark; None without one.
        with_images: show the flipped images. Otherwise no pixel of the data set is in the page.
    """
    content = {
        **_training_content(scored),
        **_accuracy_content(scored, rows),
        **_parity_content(scored, rows, advice, with_images),
        **_bench_content(bench),
        "plots": {name: Markup(drawing) for name, drawing in _plots(scored, bench).items()},
    }
    return page(
        "report.html.j2",
        content,
        percent=percent,
        rounded_down=rounded_down,
        rounded_up=rounded_up,
        figure=figure,
        probabilities=_probabilities,
    )


def _training_content(scored: ScoredBundle) -> dict[str, object]:
    run, split = scored.run, scored.reference.split
    config = run.config()
    phantoms = run.phantoms
    return {
        "run": {"name": run.folder.resolve().name, "option": run.option},
        "version": __version__,
        "notice": NOTICE,
        "phantoms": phantoms,
        "phantom_note": PHANTOM_NOTE,
        "labels": split.labels,
        "config": config,
        "parts": {part: len(split.part(part)) for part in ("train", "validation", "test")},
        "start": _start(config),
        "student": _student(config),
        "limits": limits(config),
        "images": len(scored.reference.targets),
    }


def _student(config: RunConfig) -> str | None:
    if config.student is None:
        return None
    # Not the whole path, which says where someone keeps runs.
    return student_line(replace(config.student, teacher=Path(config.student.teacher).name), config.network)


def _start(config: RunConfig) -> str:
    if config.student is not None:
        return "its teacher's weights"
    return {"none": "from scratch", "imagenet": "ImageNet"}.get(config.options.weights, "a weights file")


def _accuracy_content(scored: ScoredBundle, rows: Sequence[VerifiedArtifact]) -> dict[str, object]:
    targets, labels = scored.reference.targets, scored.reference.split.labels
    # Most artifacts predict the same class for every image, and share one row.
    alike: dict[bytes, list[str]] = {}

    def model(name: str, row: VerifiedArtifact, probabilities: NDArray[np.float32], whose: str) -> dict[str, object]:
        parity = row.parity
        names = alike.setdefault(probabilities.argmax(axis=1).tobytes(), [])
        names.append(name)
        return {
            "name": name,
            "names": names,
            "accuracy": parity.intervals.reference_accuracy if whose == "reference" else parity.intervals.accuracy,
            "classes": [
                {
                    "label": per_class.label,
                    "images": per_class.images,
                    "sensitivity": getattr(per_class.sensitivity, whose),
                    "specificity": getattr(per_class.specificity, whose),
                }
                for per_class in parity.classes
            ],
            "confusion": confusion_matrix(targets, probabilities.argmax(axis=1), len(labels)).tolist(),
            "calibration": (
                getattr(parity.calibration_error, f"{whose}_unscaled"),
                getattr(parity.calibration_error, whose),
            ),
        }

    models = [
        model(KERAS, rows[0], scored.reference.probabilities[0], "reference"),
        *(
            model(row.artifact, row, answers[0], "artifact")
            for row, (_, _, answers) in zip(rows, scored.artifacts, strict=True)
        ),
    ]
    operating = _operating_rows(scored)
    first_names = {names[0] for names in alike.values()}
    return {
        "models": models,
        "distinct": [entry for entry in models if entry["name"] in first_names],
        "temperature": scored.reference.temperature,
        "operating": operating,
        "rules": _rules(operating),
    }


def _parity_content(
    scored: ScoredBundle, rows: Sequence[VerifiedArtifact], advice: Advice | None, with_images: bool
) -> dict[str, object]:
    return {
        "parity": [
            {
                "artifact": row.artifact,
                "parity": row.parity,
                "verdict": row.verdict,
                "drop": f"{0 - 100 * (row.parity.intervals.accuracy_difference.value or 0):.2f}",
            }
            for row in rows
        ],
        "notes": [
            *([line] if (line := undecided_line(rows)) else []),
            *fine_tuning_lines(artifact for artifact, _, _ in scored.artifacts),
        ],
        "flipped": [
            {
                "artifact": row.artifact,
                "flip": image,
                "thumbnail": thumbnail(scored.reference.split.root / image.image) if with_images else None,
            }
            for row in rows
            for image in row.flipped
        ],
        "with_images": with_images,
        "conditions": [
            (
                row.artifact,
                condition_columns(row.parity.conditions[0]),
                [condition_cells(condition) for condition in shown_conditions(row.parity)],
            )
            for row in least_agreeing(rows)
        ],
        "shifted": any(row.parity.conditions for row in rows),
        "advice": None if advice is None else (advice.why, *advice_table(advice)),
    }


def _bench_content(bench: BenchRecord | None) -> dict[str, object]:
    machine = describe_machine()
    return {
        "bench": bench,
        "bench_machine": machine_line(bench.machine) if bench else "",
        "bench_rows": [_bench_row(row) for row in bench.rows] if bench else [],
        "machine": [
            *((name, getattr(machine, name)) for name in ("cpu", "cores", "architecture", "system", "python")),
            ("instruction sets", ", ".join(machine.instruction_sets)),
            *machine.packages.items(),
        ],
    }


def _plots(scored: ScoredBundle, bench: BenchRecord | None) -> dict[str, str]:
    distinct, targets, undo = _by_quantization(scored), scored.reference.targets, 1 / scored.reference.temperature
    return {
        "learning_curves": report_plots.learning(read_history(scored.run.history_file)),
        "curves": report_plots.class_curves(targets, distinct, scored.reference.split.labels),
        "reliability": report_plots.reliability(
            targets,
            {name: (apply_temperature(probabilities, undo), probabilities) for name, probabilities in distinct.items()},
        ),
        "tradeoff": report_plots.tradeoff(bench.rows) if bench else "",
    }


def _operating_rows(scored: ScoredBundle) -> list[dict[str, object]]:
    """The decision rule of each artifact that has one, its promises, and its figures on the test split."""
    rows = []
    targets, labels = scored.reference.targets, scored.reference.split.labels
    for artifact, _, probabilities in scored.artifacts:
        value = artifact.metadata.operating_point
        if (point := operating_point_of(value)) is not None:
            record = operating_record_of(value)
            figures = operating_figures(point, probabilities[0], targets, labels)
            rows.append({"artifact": artifact.name, "point": point, "record": record, "figures": figures})
    return rows


def _rules(operating: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Each decision rule in words, with the artifacts that have it."""
    rules: dict[str, list[str]] = {}
    for row in operating:
        promise = [f"It is {row['record'].promise}."] if row["record"] else []
        warnings = [f"Warning: {warning}." for warning in row["record"].warnings] if row["record"] else []
        rules.setdefault(" ".join([f"{row['point'].sentence}.", *promise, *warnings]), []).append(row["artifact"])
    return rules


def _by_quantization(scored: ScoredBundle) -> dict[str, NDArray[np.float32]]:
    """Keras and the first artifact of each integer quantization: the curves of the others would coincide with these."""
    distinct = {KERAS: scored.reference.probabilities[0]}
    for artifact, _, probabilities in scored.artifacts:
        if artifact.quantization.is_integer:
            distinct.setdefault(artifact.quantization, probabilities[0])
    return distinct


def _bench_row(row: Row) -> list[str]:
    return [
        row.title,
        row.runtime,
        str(row.threads),
        f"{row.bytes / 1e6:.1f}",
        percent(row.accuracy),
        *(f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)),
        f"{row.images_per_second:.0f}",
        speed_cell(row),
    ]


def _probabilities(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)
