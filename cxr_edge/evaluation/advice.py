"""Recommend one of a bundle's integer artifacts, based on their results under shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.parity_result import ALL_PARTS, ALL_SHIFTS, ConditionResult
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact


@dataclass(frozen=True)
class Advice:
    """The compared artifacts, the label (`VerifiedArtifact.label`) of the recommended one, and the reason."""

    compared: tuple[VerifiedArtifact, ...]
    advised: str
    why: str


def advise(rows: Sequence[VerifiedArtifact]) -> Advice | None:
    """Compare int8 with int8-ptq; None unless both exist, were scored under shifts and have different scores.

    Prefers the one that failed no gate. If both passed or both failed, prefers the one whose logits are closer to the
    Keras model's on shifted images: a power ratio separates two artifacts with fewer images than counting flips does.
    """
    compared = _comparable(rows)
    if len(compared) < 2:
        return None
    best, other = sorted(compared, key=_rank, reverse=True)[:2]
    reasons = " and ".join(f"{row.label} {_figures(row)}" for row in (best, other))
    verdicts = "".join(f"; {row.label} failed its gate" for row in (best, other) if row.verdict == Verdict.FAILED)
    return Advice(compared, best.label, f"{best.label} is recommended: under shift, {reasons}{verdicts}")


def _comparable(rows: Sequence[VerifiedArtifact]) -> tuple[VerifiedArtifact, ...]:
    """The integer artifacts of the first format that has several, without those that answer like another."""
    scored = [row for row in rows if row.is_integer and row.parity.condition(ALL_PARTS, ALL_SHIFTS)]
    for suffix in dict.fromkeys(Path(row.artifact).suffix for row in scored):
        of_format = [row for row in scored if Path(row.artifact).suffix == suffix]
        if len(of_format) > 1:
            # Where nothing was fine-tuned, int8 and int8-ptq are the same integers.
            by_answers = {row.parity.conditions: row for row in reversed(of_format)}
            return tuple(row for row in of_format if row in by_answers.values())
    return ()


def _shifted(row: VerifiedArtifact) -> ConditionResult:
    shifted = row.parity.condition(ALL_PARTS, ALL_SHIFTS)
    assert shifted is not None
    return shifted


def _rank(row: VerifiedArtifact) -> tuple[bool, float]:
    ratio = _shifted(row).signal_to_noise_db
    return row.verdict != Verdict.FAILED, float("-inf") if ratio is None else ratio


def _figures(row: VerifiedArtifact) -> str:
    shifted = _shifted(row)
    ratio = shifted.signal_to_noise_db
    agrees = f"agrees with Keras on {100 * (shifted.agreement.value or 0):.1f} %"
    return (
        f"{agrees}, its logits at {ratio:.1f} dB"
        if ratio is not None
        else f"{agrees}, with values that are not numbers"
    )
