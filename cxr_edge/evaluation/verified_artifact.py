"""The result of verifying one artifact, now or at its export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.gate import Demand
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.parity_result import ParityResult
from cxr_edge.artifacts.verdict import Verdict, worst
from cxr_edge.errors import ArtifactError
from cxr_edge.records import INLINE


@dataclass(frozen=True)
class FlippedImage:
    """An image whose top class changed, with both probability vectors."""

    image: str
    label: str
    reference: tuple[float, ...]
    artifact: tuple[float, ...]


@dataclass(frozen=True)
class VerifiedArtifact:
    """An artifact's parity; `on_other` is its parity on the other images, if those have labels.

    A row of `verify --json` and `export --json`.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {"verdict": "verdict"}

    artifact: str
    bytes: int
    runtime: str
    part: str
    parity: ParityResult = field(metadata=INLINE)
    flipped: tuple[FlippedImage, ...] = ()
    on_other: ParityResult | None = None

    @property
    def verdict(self) -> Verdict:
        """The worse verdict of the two."""
        return worst([self.parity.verdict, *([self.on_other.verdict] if self.on_other else [])])

    @property
    def label(self) -> str:
        """Its name without the network and the format, such as `int8`."""
        return self.artifact.rpartition(".")[0].removeprefix("xception-")

    @property
    def is_integer(self) -> bool:
        """Whether its name says that it computes in integers, entirely or in part."""
        return any(self.label == quantization and quantization.is_integer for quantization in Quantization)

    @property
    def demands(self) -> tuple[Demand, ...]:
        """Every demand on it."""
        return self.parity.demands + (self.on_other.demands if self.on_other else ())


def recorded(artifact: Artifact) -> VerifiedArtifact:
    """The parity recorded at export. Raises ArtifactError for an artifact that was not verified then."""
    parity = artifact.parity
    if parity is None:
        raise ArtifactError(f"{artifact.path}: holds no verdict, because it was never verified; export it again")
    return VerifiedArtifact(artifact.name, artifact.bytes, parity.runtime, parity.part, parity.result)
