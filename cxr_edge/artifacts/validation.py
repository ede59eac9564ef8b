"""Validate metadata before use: an artifact from elsewhere may hold anything that fits its types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cxr_edge.artifacts.contract import Contract
from cxr_edge.artifacts.metadata import CASCADE_SCHEMA, ArtifactMetadata, CascadeEntry, Manifest, ReferenceOutputs
from cxr_edge.artifacts.parity_result import ParityResult
from cxr_edge.records import JsonObject

MAX_ARTIFACTS, MAX_CLASSES, MAX_LABEL, MAX_IMAGE_SIZE, MAX_REFERENCES = 64, 100, 100, 2048, 1000
#: Pattern of a file name in a bundle: no folder, no hidden file, nothing special to a shell or a terminal.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
SHA256 = re.compile(r"[0-9a-f]{64}")


def require_valid_manifest(manifest: Manifest) -> None:
    """Raises ValueError, which names the invalid part of a manifest."""
    names = [entry.file for entry in manifest.artifacts]
    _require(len(names) <= MAX_ARTIFACTS, "artifacts", f"a list of {len(names)}")
    for entry in manifest.artifacts:
        _require(FILE_NAME.fullmatch(entry.file) is not None, "file", entry.file)
        _require(names.count(entry.file) == 1, "file", f"{entry.file}, which is listed twice")
        _require(entry.file.endswith(f".{entry.format}"), "file", f"{entry.file} of format {entry.format}")
        _require(SHA256.fullmatch(entry.sha256) is not None, "sha256", entry.sha256)
        require_valid_metadata(manifest.metadata_of(entry))
    card = manifest.card_sha256
    _require(card is None or SHA256.fullmatch(card) is not None, "card_sha256", card)
    _require((manifest.cascade is None) == (manifest.schema != CASCADE_SCHEMA), "schema", manifest.schema)
    if manifest.cascade is not None:
        _require_cascade(manifest, manifest.cascade)
    for entry in manifest.artifacts:
        is_small = manifest.cascade is not None and entry.file == manifest.cascade.small
        _require((entry.shared is not None) == is_small, "shared", f"that of {entry.file}")


def _require_cascade(manifest: Manifest, cascade: CascadeEntry) -> None:
    entries = {entry.file: entry for entry in manifest.artifacts}
    names = (cascade.small, cascade.full)
    _require(cascade.small != cascade.full and set(names) == set(entries), "cascade", f"of {' and '.join(names)}")
    small, full = (manifest.metadata_of(entries[name]) for name in names)
    for name in ("labels", "format", "quantization", "imaging"):
        same = getattr(small, name) == getattr(full, name)
        _require(same, f"cascade.{name}", f"{getattr(small, name)} and {getattr(full, name)}")
    _require(small.training.data_sha256 == full.training.data_sha256, "cascade.data_sha256", "two splits")
    outputs = (small.reference_outputs, full.reference_outputs)
    counts = [None if each is None else len(each.keras) for each in outputs]
    _require(None not in counts and counts[0] == counts[1], "cascade.reference_outputs", counts)
    _require(0 < cascade.threshold <= 1, "cascade.threshold", cascade.threshold)
    fitted = cascade.fitted.get("threshold")
    _require(fitted == cascade.threshold, "cascade.threshold", f"{cascade.threshold}, which was fitted to be {fitted}")
    _require_parity(cascade.parity.result)
    sealed = cascade.sealed(*(entries[name].sha256 for name in names))
    _require(sealed == cascade, "cascade", "different from the one made: its threshold, files or figures were changed")


def require_valid_metadata(metadata: ArtifactMetadata) -> None:
    """Raises ValueError, which names the invalid field of an artifact's metadata."""
    labels = metadata.labels
    _require(2 <= len(labels) <= MAX_CLASSES, "labels", f"{len(labels)} of them")
    _require(len(set(labels)) == len(labels), "labels", "the same one twice")
    for label in labels:
        _require(0 < len(label) <= MAX_LABEL and label.isprintable(), "labels", label)
    _require_known(metadata.contract, len(labels))
    _require(0 < metadata.temperature < 1e6, "temperature", metadata.temperature)
    reference = metadata.reference_sha256
    _require(reference is None or SHA256.fullmatch(reference) is not None, "reference_sha256", reference)
    if metadata.parity is not None:
        _require_parity(metadata.parity.result)
    if metadata.operating_point is not None:
        _require_point(metadata.operating_point, labels)
    if metadata.reference_outputs is not None:
        _require_outputs(metadata.reference_outputs, len(labels))


def _require_known(contract: Contract, classes: int) -> None:
    try:
        known = contract.is_known(classes) and contract.image_size <= MAX_IMAGE_SIZE
    except (ValueError, IndexError, TypeError):
        known = False
    _require(known, "contract", "one that this version of cxr-edge does not know")


def _require_parity(parity: ParityResult) -> None:
    for name in ("agreement", "accuracy", "reference_accuracy"):
        _require(_is_share(getattr(parity, name)), f"parity.{name}", getattr(parity, name))


def _require_point(point: JsonObject, labels: Sequence[str]) -> None:
    """Check an `evaluation.operating.OperatingPoint` of either schema."""
    names = ("sensitive_class", "suspected_from", "called_from")
    label, *thresholds = names if "schema" in point else ("label", "threshold", "refer_below")
    _require(point.get(label) in labels, f"operating_point.{label}", point.get(label))
    for name in thresholds:
        _require(_is_share(point.get(name)), f"operating_point.{name}", point.get(name))


def _require_outputs(outputs: ReferenceOutputs, classes: int) -> None:
    for name, rows in (("probabilities", outputs.probabilities), ("keras", outputs.keras)):
        where = f"reference_outputs.{name}"
        _require(0 < len(rows) <= MAX_REFERENCES, where, f"{len(rows)} rows")
        for row in rows:
            _require(len(row) == classes and all(map(_is_share, row)), where, row)
    _require(len(outputs.probabilities) == len(outputs.keras), "reference_outputs", "two lengths")


def _is_share(value: object) -> bool:
    # Slightly above 1: softmax rounds.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1.001


def _require(right: bool, field: str, value: Any) -> None:
    if not right:
        raise ValueError(f"{field} cannot be {str(value)[:100]}")
