"""The sections of a model card with measured figures: accuracy, other images, parity, latency and energy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from cxr_edge.artifacts.parity_result import ClassParity, PairedDifference
from cxr_edge.benchmarking.record import BenchRecord
from cxr_edge.prediction.evaluation import TEST_SPLIT, Evaluation
from cxr_edge.reporting.card.evidence import Evidence
from cxr_edge.reporting.card.markdown import escaped, section, table
from cxr_edge.reporting.terminal.metrics import with_bounds
from cxr_edge.reporting.terminal.tables import machine_line
from cxr_edge.wording import counted

KERAS = "Keras float32"


def accuracy(evidence: Evidence) -> str:
    """Sensitivity and specificity per class on the test split, of the Keras model and of the artifacts."""
    if not evidence.parity:
        return section("Accuracy by class", "Not recorded: the artifacts were never verified on labelled images.")
    first = evidence.parity[0]
    # Artifacts that answer alike share their rows.
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    alike.setdefault(_class_rows(first.parity.classes, reference=True), []).append(KERAS)
    for verified in evidence.parity:
        rows = _class_rows(verified.parity.classes, reference=False)
        alike.setdefault(rows, []).append(escaped(verified.artifact))
    return section(
        "Accuracy by class",
        f"On {counted(first.parity.images, 'image')} of the {escaped(first.part)} part, which no model was trained on, "
        "with 95 % intervals:",
        table(
            ["model", "class", "images", "sensitivity", "specificity"],
            [
                [", ".join(names) if index == 0 else "", *cells]
                for rows, names in alike.items()
                for index, cells in enumerate(rows)
            ],
        ),
        _of_run(evidence),
        *_worst_groups([evaluation for evaluation in _evaluations(evidence) if evaluation.part == TEST_SPLIT]),
    )


def _evaluations(evidence: Evidence) -> tuple[Evaluation, ...]:
    return () if evidence.run is None else evidence.run.evaluations


def _class_rows(classes: tuple[ClassParity, ...], reference: bool) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            escaped(per_class.label),
            str(per_class.images),
            *(
                with_bounds(rates.reference if reference else rates.artifact)
                for rates in (per_class.sensitivity, per_class.specificity)
            ),
        )
        for per_class in classes
    )


def _of_run(evidence: Evidence) -> str:
    """The recorded figures of the run's Keras model, and those of the cross-validation that it is part of."""
    lines = []
    if evidence.run is not None and evidence.run.metrics is not None:
        metrics = evidence.run.metrics.metrics
        area = "" if metrics.macro_auc is None else f", macro AUC {metrics.macro_auc:.4f}"
        lines.append(
            f"{KERAS}: accuracy {with_bounds(metrics.accuracy)}, balanced accuracy "
            f"{with_bounds(metrics.balanced_accuracy)}{area}."
        )
    if evidence.run is not None and evidence.run.cross_validation is not None:
        pooled = evidence.run.cross_validation.metrics
        lines.append(
            f"Cross-validation, over {counted(pooled.images, 'image')}, each by the model that never saw it: accuracy "
            f"{with_bounds(pooled.accuracy)}, balanced accuracy {with_bounds(pooled.balanced_accuracy)}."
        )
    return "\n\n".join(lines)


def other_images(evidence: Evidence) -> str:
    """Accuracy on images from elsewhere, and of groups of them, where that was recorded."""
    outside = [evaluation for evaluation in _evaluations(evidence) if evaluation.part != TEST_SPLIT]
    if not outside:
        return section(
            "Other images",
            "Not measured: no evaluation of these artifacts on images from elsewhere is recorded. Accuracy on the "
            "collection that a model was trained on is usually too optimistic.",
        )
    rows = []
    for evaluation in outside:
        names = [escaped(_data_name(evaluation)), escaped(evaluation.model)]
        rows.append([*names, "all", str(evaluation.metrics.images), with_bounds(evaluation.metrics.accuracy)])
        rows += [
            ["", "", escaped(per_class.label), str(per_class.support), with_bounds(per_class.recall)]
            for per_class in evaluation.metrics.classes
            if per_class.support
        ]
    return section(
        "Other images",
        "Images other than the test split; share recognized, with 95 % intervals:",
        table(["images", "artifact", "class", "number", "recognized"], rows),
        *(line for evaluation in outside if (line := _decided(evaluation))),
        *_worst_groups(outside),
    )


def _decided(evaluation: Evaluation) -> str:
    """What the decision rule does on these images; empty without one."""
    if evaluation.operating_point is None:
        return ""
    figures, label = evaluation.operating_point.figures, evaluation.operating_point.point.sensitive_class
    return (
        f"{escaped(_data_name(evaluation))}, {escaped(evaluation.model)}, by the decision rule: of "
        f"{counted(figures.sensitive_images, f'{escaped(label)} image')}, {figures.sensitive_called} called, "
        f"{figures.sensitive_referred} referred, {figures.missed} missed; of "
        f"{counted(figures.other_images, 'other image')}, {figures.other_right} called correctly, "
        f"{figures.other_referred} referred, {figures.wrong_calls} called wrongly."
    )


def _worst_groups(evaluations: Sequence[Evaluation]) -> list[str]:
    return [
        f"{escaped(_data_name(evaluation))}, {escaped(evaluation.model)}, by {escaped(grouping.by)}: lowest "
        f"{'accuracy' if worst.label is None else f'sensitivity to {escaped(worst.label)}'} for "
        f"{escaped(worst.group)}, {with_bounds(worst.share)}; other images {with_bounds(worst.others)}."
        for evaluation in evaluations
        for grouping in evaluation.groupings
        for worst in grouping.worst
    ]


def _data_name(evaluation: Evaluation) -> str:
    # Not the whole path, which says where someone keeps patients' images.
    return PurePath(evaluation.part).name


def parity(evidence: Evidence) -> str:
    """How far each artifact answers as the Keras model does, and the verdict of its gate."""
    if not evidence.parity:
        return section("Parity with the trained model", "Not recorded: the artifacts were never verified.")
    first = evidence.parity[0]
    return section(
        "Parity with the trained model",
        f"Against {KERAS}, whose accuracy is {with_bounds(first.parity.intervals.reference_accuracy)}, on "
        f"{counted(first.parity.images, 'image')} of the {escaped(first.part)} part; the verdict is that of the gate "
        "at export:",
        table(
            ["artifact", "accuracy", "difference, points", "same class", "verdict"],
            [
                [
                    escaped(verified.artifact),
                    with_bounds(verified.parity.intervals.accuracy),
                    _points(verified.parity.intervals.accuracy_difference),
                    with_bounds(verified.parity.intervals.agreement),
                    str(verified.verdict),
                ]
                for verified in evidence.parity
            ],
        ),
    )


def _points(difference: PairedDifference) -> str:
    if difference.value is None:
        return "-"
    # Adding 0 removes the sign of a negative zero.
    value, low, high = (
        None if share is None else f"{100 * share + 0.0:.2f}"
        for share in (difference.value, difference.low, difference.high)
    )
    return f"{value}" if low is None else f"{value} ({low} to {high})"


def latency(evidence: Evidence) -> str:
    """Latency and energy of the files in the bundle, as the last benchmark recorded them."""
    record = None if evidence.run is None else evidence.run.bench
    if record is None:
        return section("Latency and energy", "Not measured: no benchmark of these artifacts is recorded.")
    hashes = {file.sha256 for artifact in evidence.artifacts for file in (artifact, *artifact.members)}
    rows = [row for row in record.rows if row.sha256 in hashes]
    energy = any(row.energy_mj is not None for row in rows)
    cells = [
        [
            escaped(row.title),
            escaped(row.runtime),
            str(row.threads),
            *(f"{value:.2f}" for value in (row.p50_ms, row.p90_ms, row.p99_ms)),
            *(["-" if row.energy_mj is None else f"{row.energy_mj:.1f}"] if energy else []),
        ]
        for row in rows
    ]
    columns = ["artifact", "runtime", "threads", "p50 ms", "p90 ms", "p99 ms", *(["mJ"] if energy else [])]
    return section(
        "Latency and energy",
        f"One image at a time, in milliseconds, on {escaped(machine_line(record.machine))}; {escaped(record.date)}:",
        table(columns, cells),
        _noise(record),
        f"Energy per image: {escaped(record.energy or '')}." if energy else "Energy: not measured.",
    )


def _noise(record: BenchRecord) -> str:
    if not record.noise.noisy:
        return ""
    return f"**The machine was noisy**: {escaped('; '.join(record.noise.reasons))}. Small differences mean nothing."
