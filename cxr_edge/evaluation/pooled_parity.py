"""The parity of a cross-validation's artifacts: of each fold on its own test part, and over all folds together."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.parity_result import PairedDifference, ParityResult
from cxr_edge.evaluation.cascade_fit import CascadeFit
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.records import INLINE

SCHEMA = 1


@dataclass(frozen=True)
class FoldParity:
    """A fold's artifact compared with the fold's Keras model, on the fold's test part.

    `sha256` is the artifact's, `model_sha256` the Keras model's. `artifact` is its name where that is not the
    pooled one: int8, where other folds have layers in float.
    """

    #: From 1.
    fold: int
    sha256: str
    model_sha256: str
    parity: ParityResult = field(metadata=INLINE)
    artifact: str | None = None


@dataclass(frozen=True)
class PooledArtifact:
    """The artifacts of one quantization and format, one per fold.

    `pooled` counts every image once, in the fold that tests on it. Its `bytes` are those of the largest artifact.
    """

    pooled: VerifiedArtifact
    folds: tuple[FoldParity, ...]


@dataclass(frozen=True, kw_only=True)
class PooledParity:
    """What `verify --json` and `export --json` write for a cross-validation."""

    schema: int = SCHEMA
    data: TrainingData
    #: The name of the bundle in each fold's folder.
    bundle: str
    artifacts: tuple[PooledArtifact, ...]
    #: A human-readable line for each artifact that is not in every fold.
    left_out: tuple[str, ...] = ()

    @property
    def phantoms(self) -> bool:
        """Whether the folds were trained on synthetic images."""
        return self.data is TrainingData.PHANTOMS

    @property
    def rows(self) -> tuple[VerifiedArtifact, ...]:
        """The pooled results."""
        return tuple(artifact.pooled for artifact in self.artifacts)


@dataclass(frozen=True, kw_only=True)
class PooledCascades:
    """What `cascade --json` writes for cross-validations: the fits of the folds, in order, and their pooled parity.

    `accuracy_less_full` compares the cascades with their full models on all test parts; it is None if a cascade is of
    an earlier version.
    """

    schema: int = SCHEMA
    fits: tuple[CascadeFit, ...]
    parity: PooledParity
    accuracy_less_full: PairedDifference | None = None
