"""How an artifact compares with its Keras model: the types stored in artifacts, manifests and records."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxr_edge.artifacts.gate import Demand, Gate
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.intervals import Interval
from cxr_edge.records import INLINE

#: The part of a condition that pools all parts of the split, and the shift of one that pools all shifts of the suite.
ALL_PARTS, ALL_SHIFTS = "all parts", "all shifts"


@dataclass(frozen=True)
class PairedDifference:
    """A difference of two shares on the same images, with its interval; None if there is nothing to count."""

    value: float | None
    low: float | None
    high: float | None
    lost_at_most: float | None


@dataclass(frozen=True)
class McNemarTest:
    """Images that only one of the two classifies correctly, and the p-value of that imbalance."""

    only_reference_right: int
    only_artifact_right: int
    p_value: float


@dataclass(frozen=True)
class PairedRates:
    """Sensitivity or specificity of both, and the difference."""

    reference: Interval
    artifact: Interval
    difference: PairedDifference


@dataclass(frozen=True)
class ClassParity:
    """One class against the rest."""

    label: str
    images: int
    sensitivity: PairedRates
    specificity: PairedRates


@dataclass(frozen=True)
class CalibrationErrors:
    """Expected calibration errors, with and without the temperature."""

    reference: float
    artifact: float | None
    reference_unscaled: float
    artifact_unscaled: float | None


@dataclass(frozen=True)
class ParityIntervals:
    """Shares with their intervals."""

    agreement: Interval
    reference_accuracy: Interval
    accuracy: Interval
    accuracy_difference: PairedDifference


@dataclass(frozen=True)
class ClassFlips:
    """How many of the `images` that the reference assigns to `label` the artifact does not, and vice versa.

    `p_value` is the probability of at least this excess of losses over gains if both were equally likely.
    """

    label: str
    images: int
    away: int
    towards: int
    p_value: float

    @property
    def loss(self) -> float:
        """The share that the class loses on balance; 0 if the class has no images."""
        return (self.away - self.towards) / self.images if self.images else 0.0


@dataclass(frozen=True)
class ConditionResult:
    """How an artifact agrees with the reference on images of one `part`, unshifted or under one `shift`.

    Divergences are in nats; they and the signal-to-noise ratio are None if the artifact gave non-finite values.
    """

    part: str
    shift: str | None
    images: int
    agreement: Interval
    signal_to_noise_db: float | None
    mean_divergence: float | None
    largest_divergence: float | None
    flips: tuple[ClassFlips, ...]

    @property
    def name(self) -> str:
        return (
            self.part if self.shift is None else self.shift if self.part == ALL_PARTS else f"{self.part}, {self.shift}"
        )


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """Parity on labelled images, and under `conditions` that need no labels; `verdict` is the worst of `demands`."""

    images: int
    agreement: float
    reference_accuracy: float
    accuracy: float
    largest_difference: float | None
    mean_difference: float | None
    divergence: float | None
    calibration_error: CalibrationErrors
    intervals: ParityIntervals
    mcnemar: McNemarTest
    classes: tuple[ClassParity, ...]
    gate: Gate
    demands: tuple[Demand, ...]
    verdict: Verdict
    #: Version of the suite of shifts; None if none were scored, as before November 2026.
    suite: int | None = None
    conditions: tuple[ConditionResult, ...] = ()

    def condition(self, part: str, shift: str | None = None) -> ConditionResult | None:
        """The condition with a part and shift; None if it was not scored."""
        return next(
            (condition for condition in self.conditions if (condition.part, condition.shift) == (part, shift)), None
        )


@dataclass(frozen=True)
class RecordedParity:
    """The parity of an artifact at export: on a runtime, on a part of the split."""

    runtime: str
    part: str
    result: ParityResult = field(metadata=INLINE)
