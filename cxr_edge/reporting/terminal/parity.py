"""The parity tables, and the gate's verdict."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_edge.artifacts.gate import Demand
from cxr_edge.artifacts.parity_result import ALL_PARTS, ConditionResult, PairedDifference, ParityResult
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import GateError
from cxr_edge.evaluation.advice import Advice
from cxr_edge.evaluation.replay import ReplayResult
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.intervals import Interval
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table

#: Number of flipped images in the table; the JSON has all.
MOST_FLIPPED = 10


def _interval(figure: Interval | PairedDifference, sign: int = 1) -> str:
    if figure.low is None or figure.high is None:
        return ""
    # Adding 0 removes the sign of a negative zero.
    low, high = sorted((sign * figure.low + 0.0, sign * figure.high + 0.0))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def drop_cells(difference: PairedDifference, digits: int) -> list[str]:
    """A drop in percentage points, and its interval; a dash if the drop is undefined."""
    if difference.value is None:
        return ["-", ""]
    return [f"{0 - 100 * difference.value:.{digits}f}", _interval(difference, -1)]


def figure(value: float | None, digits: int) -> str:
    """A number, or a dash if there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def show_parity(rows: Sequence[VerifiedArtifact], phantoms: bool) -> None:
    """Print one row per artifact; classes, images and conditions only where they differ."""
    if not rows:
        return
    _show_paired([(row.artifact, row.verdict, row.parity) for row in rows], rows[0].part)
    _show_probabilities(rows)
    _show_classes(rows)
    _show_flipped(rows)
    if others := [(row.artifact, row.on_other.verdict, row.on_other) for row in rows if row.on_other]:
        _show_paired(others, "other")
    show_conditions(rows)
    if line := undecided_line(rows):
        show(line)
    if phantoms:
        show(PHANTOM_NOTE)


def _show_paired(rows: Sequence[tuple[str, Verdict, ParityResult]], part: str) -> None:
    reference = rows[0][2].intervals.reference_accuracy
    show_table(
        f"Parity with Keras float32 on {rows[0][2].images} {part} images "
        f"(Keras: accuracy {percent(reference.value)} %, {_interval(reference)}; 95 % intervals)",
        ["artifact", "accuracy %", "", "drop", "", "same %", "McNemar p", "verdict"],
        [
            [
                artifact,
                percent(parity.accuracy),
                _interval(parity.intervals.accuracy),
                *drop_cells(parity.intervals.accuracy_difference, 2),
                percent(parity.agreement),
                f"{parity.mcnemar.p_value:.2f}",
                "too few" if verdict == Verdict.UNDECIDED else verdict,
            ]
            for artifact, verdict, parity in rows
        ],
    )


def _show_probabilities(rows: Sequence[VerifiedArtifact]) -> None:
    error = rows[0].parity.calibration_error
    show_table(
        f"Probabilities, and their expected calibration error before and after temperature scaling (Keras: "
        f"{percent(error.reference_unscaled)} % before, {percent(error.reference)} % after)",
        ["artifact", "MB", "largest diff", "mean diff", "divergence, nats", "error before %", "after %"],
        [
            [
                row.artifact,
                f"{row.bytes / 1e6:.1f}",
                figure(row.parity.largest_difference, 4),
                figure(row.parity.mean_difference, 5),
                figure(row.parity.divergence, 5),
                percent(row.parity.calibration_error.artifact_unscaled),
                percent(row.parity.calibration_error.artifact),
            ]
            for row in rows
        ],
    )


def _show_classes(rows: Sequence[VerifiedArtifact]) -> None:
    lines = []
    for row in rows:
        for per_class in row.parity.classes if row.parity.agreement < 1 else ():
            figures = []
            for rates in (per_class.sensitivity, per_class.specificity):
                figures += [percent(rates.artifact.value), *drop_cells(rates.difference, 1)]
            lines.append([row.artifact.removeprefix("xception-"), per_class.label, str(per_class.images), *figures])
    if lines:
        columns = ["artifact", "class", "images", "sens. %", "drop", "", "spec. %", "drop", ""]
        show_table("Sensitivity and specificity per class, where any image changed its class", columns, lines, texts=2)


def _show_flipped(rows: Sequence[VerifiedArtifact]) -> None:
    lines = [
        [
            row.artifact.removeprefix("xception-"),
            image.image,
            image.label,
            *(" ".join(f"{value:.2f}" for value in values) for values in (image.reference, image.artifact)),
        ]
        for row in rows
        for image in row.flipped
    ]
    if lines:
        columns = ["artifact", "image", "label", "Keras", "artifact's"]
        show_table(f"Flipped images: {len(lines)}, one per line", columns, lines[:MOST_FLIPPED], texts=3)
        if len(lines) > MOST_FLIPPED:
            show(f"and {len(lines) - MOST_FLIPPED} more: --json FILE has them all")


def show_conditions(rows: Sequence[VerifiedArtifact]) -> None:
    """Print a table for each of `least_agreeing`."""
    worst = least_agreeing(rows)
    for row in worst:
        show_table(
            f"{row.artifact} against Keras, without labels; flips are images that left / joined a class",
            condition_columns(row.parity.conditions[0]),
            [condition_cells(condition) for condition in shown_conditions(row.parity)],
        )
    if worst:
        show(
            "for each quantization, the file with the lowest agreement; --json has the others, and each part under "
            "each shift"
        )


def least_agreeing(rows: Sequence[VerifiedArtifact]) -> list[VerifiedArtifact]:
    """For each quantization that differs from Keras under any condition, the artifact that differs most."""
    worst: dict[str, VerifiedArtifact] = {}
    for row in rows:
        if row.parity.conditions and _least(row) < min(1.0, _least(worst.get(row.label))):
            worst[row.label] = row
    return list(worst.values())


def _least(row: VerifiedArtifact | None) -> float:
    return 2.0 if row is None else min(condition.agreement.value or 0.0 for condition in row.parity.conditions)


def shown_conditions(parity: ParityResult) -> list[ConditionResult]:
    """Unshifted parts, and the shifts pooled over all parts; not each part under each shift."""
    plain = [condition for condition in parity.conditions if condition.shift is None]
    return sorted(plain, key=lambda condition: condition.part == ALL_PARTS) + [
        condition for condition in parity.conditions if condition.shift is not None and condition.part == ALL_PARTS
    ]


def condition_columns(condition: ConditionResult) -> list[str]:
    """Column headings of `condition_cells`."""
    return ["images", "", "same %", "", "dB", "divergence", "largest", *(flips.label for flips in condition.flips)]


def condition_cells(condition: ConditionResult) -> list[str]:
    """A condition as text: images, agreement, signal-to-noise of the logits, divergence in nats, flips per class."""
    return [
        condition.name,
        str(condition.images),
        percent(condition.agreement.value),
        _interval(condition.agreement).replace(" to ", "-"),
        figure(condition.signal_to_noise_db, 1),
        figure(condition.mean_divergence, 4),
        figure(condition.largest_divergence, 2),
        *(f"{flips.away} / {flips.towards}" for flips in condition.flips),
    ]


def advice_table(advice: Advice) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the compared artifacts side by side, by condition."""
    columns = ["images", *(f"{row.label} {what}" for row in advice.compared for what in ("same %", "dB"))]
    rows = []
    for condition in shown_conditions(advice.compared[0].parity):
        others = [row.parity.condition(condition.part, condition.shift) for row in advice.compared]
        cells = [
            (percent(condition.agreement.value), figure(condition.signal_to_noise_db, 1)) if condition else ("-", "-")
            for condition in others
        ]
        rows.append([condition.name, *(cell for pair in cells for cell in pair)])
    return columns, rows


def show_advice(advice: Advice | None) -> None:
    """Print the integer artifacts side by side, and which one to use."""
    if advice is not None:
        show_table("int8 against Keras: agreement and signal-to-noise of the logits", *advice_table(advice))
        show(advice.why)


def undecided_line(rows: Sequence[VerifiedArtifact]) -> str | None:
    """What cannot be proven with so few images; None if they suffice."""
    undecided: dict[str, set[str]] = {}
    for demand in (demand for row in rows for demand in row.demands if demand.verdict == Verdict.UNDECIDED):
        what, _, label = demand.name.partition(", ")
        most = "at least" if demand.wants_more else "at most"
        about = " ".join(word for word in (label, f"on {demand.condition}" if demand.condition else "") if word)
        undecided.setdefault(f"{what} of {most} {percent(demand.limit)} %", set()).add(about)
    if not undecided:
        return None
    named = [what + (f" ({', '.join(sorted(about))})" if any(about) else "") for what, about in undecided.items()]
    return f"too few: every figure meets its limit, but there are too few images to prove it: {'; '.join(named)}"


def _failure(demand: Demand) -> str:
    where = f" on {demand.condition}" if demand.condition else ""
    return f"{demand.name} {percent(demand.value)} % (limit {percent(demand.limit)} %){where}"


def gate_parity(rows: Sequence[VerifiedArtifact]) -> None:
    """Raises GateError naming every artifact that failed, and by what, under which condition."""
    failed = [row for row in rows if row.verdict == Verdict.FAILED]
    if failed:
        named = "; ".join(
            f"{row.artifact}: "
            + (
                ", ".join(_failure(demand) for demand in row.demands if demand.verdict == Verdict.FAILED)
                or "probabilities that are not numbers"
            )
            for row in failed
        )
        raise GateError(f"parity failed: {named}")


def show_replay(rows: Sequence[ReplayResult]) -> None:
    """Print a row per pair of artifact and runtime."""
    show_table(
        f"Replay of {rows[0].images} reference inputs: against what was recorded at export, and against Keras",
        ["artifact", "runtime", "largest diff", "allowed", "same %", "dB", "Keras same %", "dB", "verdict"],
        [
            [
                row.artifact.removeprefix("xception-"),
                row.runtime if row.runtime == row.recorded_on else f"{row.runtime} (recorded on {row.recorded_on})",
                f"{row.largest_difference:.5f}",
                f"{row.tolerance:g}",
                percent(row.agreement),
                figure(row.signal_to_noise_db, 0),
                percent(row.agreement_to_keras),
                figure(row.signal_to_noise_to_keras_db, 1),
                row.verdict,
            ]
            for row in rows
        ],
        texts=2,
    )


def show_left_out(lines: Sequence[str]) -> None:
    """Print what was not verified in a bundle, and why."""
    for line in lines:
        show(f"not verified: {line}")


def gate_replay(rows: Sequence[ReplayResult]) -> None:
    """Raises GateError naming every pair that computes something other than what was validated."""
    failed = [f"{row.artifact} on {row.runtime}" for row in rows if row.verdict == Verdict.FAILED]
    if failed:
        raise GateError(f"computes something other than what was validated: {', '.join(failed)}")
