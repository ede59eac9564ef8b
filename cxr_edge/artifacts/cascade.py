"""A cascade: two artifacts that act as one. The small one answers; if it is unsure, the full one does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.metadata import CascadeEntry, ReferenceOutputs
from cxr_edge.errors import ArtifactError

#: The reference inputs of the small model; those of the full one are in the usual file.
SMALL_REFERENCES = "reference-small.npz"


class Member(StrEnum):
    """Which model of a cascade answered."""

    SMALL = "small"
    FULL = "full"


@dataclass(frozen=True)
class Cascade(Artifact):
    """Two artifacts as one. `path` is the bundle's folder, so nothing can load one model for the whole by mistake.

    `sha256` covers both files and the threshold, `bytes` both files. `metadata` are the full model's, with the parity
    and the reference outputs of the cascade.
    """

    small: Artifact
    full: Artifact
    entry: CascadeEntry

    @property
    def name(self) -> str:
        return f"cascade-{self.quantization}.{self.format}"

    @property
    def members(self) -> tuple[Artifact, ...]:
        return self.small, self.full

    @property
    def has_heatmap(self) -> bool:
        return all(member.has_heatmap for member in self.members)

    @property
    def threshold(self) -> float:
        """Minimum top probability for the small model's answer to be used."""
        return self.entry.threshold

    def member_named(self, artifact: Artifact) -> Member:
        """Which of the two a file is."""
        return Member.SMALL if artifact is self.small else Member.FULL


def is_unsure(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """A mask `[N]` of the answers `[N, K]` of a small model in whose place the full one answers."""
    # float32 would round a threshold to a different number.
    return np.asarray(probabilities.max(axis=1).astype(np.float64) < threshold)


def require_fit_together(small: Artifact, full: Artifact) -> None:
    """Raises ArtifactError for two artifacts that cannot answer in each other's place."""
    first, second = small.metadata, full.metadata
    for what, ours, theirs in (
        ("labels", ", ".join(first.labels), ", ".join(second.labels)),
        ("rules of reading images", first.imaging, second.imaging),
        ("splits of the data", first.training.data_sha256[:12], second.training.data_sha256[:12]),
    ):
        if ours != theirs:
            raise ArtifactError(
                f"{small.path} and {full.path} have different {what} ({ours}; {theirs}); a cascade needs models of the "
                "same labels, image reading and split, so that neither has seen the other's test images"
            )
    counts = [0 if each.reference is None else len(each.reference.keras) for each in (small, full)]
    if 0 in counts or counts[0] != counts[1]:
        raise ArtifactError(
            f"{small.path} and {full.path} were exported with different reference inputs; export both again"
        )


def cascade_of(folder: Path, entry: CascadeEntry, small: Artifact, full: Artifact) -> Cascade:
    """The cascade of a bundle; both artifacts have reference outputs, of equally many inputs."""
    metadata = replace(full.metadata, parity=entry.parity, reference_outputs=_outputs(entry.threshold, small, full))
    return Cascade(folder, entry.sha256, small.bytes + full.bytes, metadata, small, full, entry)


def _outputs(threshold: float, small: Artifact, full: Artifact) -> ReferenceOutputs:
    first, second = small.reference, full.reference
    assert first is not None and second is not None
    unsure = is_unsure(np.array(first.probabilities), threshold)
    rows = zip(unsure, first.probabilities, second.probabilities, strict=True)
    return replace(second, probabilities=tuple(of_full if is_full else of_small for is_full, of_small, of_full in rows))
