"""Write the model card of a bundle from what its files and its run's records hold; no figure comes from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.bundle import CARD, write_card
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.reporting.card import figures, sections
from cxr_edge.reporting.card.evidence import Evidence, evidence_of
from cxr_edge.reporting.card.markdown import bullets, escaped, quoted
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE
from cxr_edge.runs import Run


@dataclass(frozen=True)
class WrittenCard:
    """The file, whether it changed, and `notes` that say what was left out, and why, one per line."""

    path: Path
    changed: bool
    notes: tuple[str, ...]


def update_card(bundle: Path, source: Path | None = None) -> WrittenCard:
    """Write a bundle's model card and list it in its manifest; a card that is up to date is left alone.

    Args:
        bundle: its folder.
        source: the bundle that it was taken from, whose run has the records; None for `bundle` itself.

    Raises:
        ArtifactError: there is no bundle, or it is damaged.
        RunError, DataError: the run beside it is damaged.
    """
    evidence = evidence_of(bundle, Run((source or bundle).resolve().parent))
    return WrittenCard(bundle / CARD, write_card(bundle, card_of(evidence)), evidence.notes)


def card_of(evidence: Evidence) -> str:
    """The card: YAML that the Hugging Face Hub reads, and Markdown."""
    labels = ", ".join(map(escaped, evidence.shared.labels))
    head = [f"# Chest X-ray classifier: {labels}", f"**{NOTICE}**"]
    if evidence.training.phantoms:
        head.append(f"> **Trained on phantoms.** {PHANTOM_NOTE}")
    parts = (
        sections.intended_use,
        sections.training_data,
        sections.known_limits,
        figures.accuracy,
        figures.other_images,
        sections.cascade,
        sections.decision_rule,
        sections.shortcuts,
        figures.parity,
        figures.latency,
        sections.how_to_run,
    )
    texts = (part(evidence) for part in parts)
    return "\n\n".join([_front_matter(evidence), *head, *(text for text in texts if text)]) + "\n"


def _front_matter(evidence: Evidence) -> str:
    kinds = {*(artifact.format for artifact in evidence.artifacts)}
    precisions = {*(artifact.quantization for artifact in evidence.artifacts)}
    tags = ["chest-x-ray", "medical-imaging", "xception", *sorted(kinds), *sorted(precisions)]
    lines = [
        "library_name: cxr-edge",
        "pipeline_tag: image-classification",
        "tags:",
        bullets([quoted(tag) for tag in tags]),
        *_results(evidence),
    ]
    return "\n".join(["---", *lines, "---"])


def _results(evidence: Evidence) -> list[str]:
    """The figures that the Hub lists; none for phantoms, so that nobody finds a model by them."""
    if evidence.training.phantoms or not evidence.parity:
        return []
    lines = ["metrics:", "- accuracy", "model-index:"]
    for verified in evidence.parity:
        share = verified.parity.intervals.accuracy.value
        if share is None:
            continue
        lines += [
            f"- name: {quoted(verified.artifact)}",
            "  results:",
            "  - task:",
            "      type: image-classification",
            "    dataset:",
            f"      name: {quoted(f'{verified.part} part of its own collection')}",
            "      type: chest-x-ray",
            "    metrics:",
            "    - type: accuracy",
            f"      value: {share:.4f}",
        ]
    return lines
