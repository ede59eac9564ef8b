"""Records of accuracy control: the loss that int8 is allowed, its actual loss, and the layers kept in float."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxr_edge.errors import OptionError
from cxr_edge.evaluation.demands import SLACK
from cxr_edge.intervals import Interval
from cxr_edge.records import FIGURE


@dataclass(frozen=True)
class AccuracyDemand:
    """The maximum loss of int8 on validation images, in percentage points; None for a limit that is not stated.

    `max_drop` limits the drop in accuracy, `max_disagreement` the share of images whose class is not the Keras model's.

    Raises:
        OptionError: out of range.
    """

    max_drop: float | None = None
    max_disagreement: float | None = None

    def __post_init__(self) -> None:
        for option, points in (("--max-drop", self.max_drop), ("--max-disagreement", self.max_disagreement)):
            if points is not None and not 0 <= points < 100:
                raise OptionError(f"{option} {points}: must be at least 0 and less than 100 points")

    @property
    def is_stated(self) -> bool:
        """Whether anything is demanded."""
        return self.max_drop is not None or self.max_disagreement is not None

    def __str__(self) -> str:
        named = (("a drop", self.max_drop), ("a disagreement", self.max_disagreement))
        return " and ".join(f"{name} of at most {points:g} points" for name, points in named if points is not None)


@dataclass(frozen=True)
class Loss:
    """The loss of int8 relative to the Keras model on a set of images, in percentage points.

    `drop` is the drop in accuracy, with its 95 % interval if no image counts twice; `disagreement` is the share of
    images with a different class.
    """

    images: int
    drop: Interval = field(metadata=FIGURE)
    disagreement: float


@dataclass(frozen=True)
class Losses:
    """The losses on the unshifted validation images, and on those under all shifts of the suite together."""

    plain: Loss
    shifted: Loss

    def excess(self, demand: AccuracyDemand) -> float:
        """By how many points the demand is missed; 0 or less where it is met."""
        margins = []
        for loss in (self.plain, self.shifted):
            assert loss.drop.value is not None
            margins += [
                figure - limit
                for figure, limit in (
                    (loss.drop.value, demand.max_drop),
                    (loss.disagreement, demand.max_disagreement),
                )
                if limit is not None
            ]
        return max(margins)

    def meet(self, demand: AccuracyDemand) -> bool:
        """Whether the figures meet the demand, regardless of their intervals: a few hundred images cannot prove it."""
        return self.excess(demand) <= SLACK

    def __str__(self) -> str:
        return "; ".join(
            f"drop {loss.drop.value:.2f} and disagreement {loss.disagreement:.2f} points {where}"
            for loss, where in ((self.plain, "as they are"), (self.shifted, "under shift"))
        )


@dataclass(frozen=True)
class Release:
    """A tensor that is no longer rounded to int8, and the layers that it adds to those already left in float.

    `snr_db` is the signal-to-noise ratio of the logits with this tensor alone in int8.
    """

    tensor: str
    layers: tuple[str, ...]
    snr_db: float


@dataclass(frozen=True)
class AccuracyControl:
    """The demand, and the smallest number of ranked releases that meets it, in the order of the ranking.

    `before` are the losses of int8 without any of them, simulated, and `after` those with them: simulated too, but in
    an artifact's metadata measured on the file itself. `ranked` is the number of releases in the ranking.
    """

    demand: AccuracyDemand
    before: Losses
    after: Losses
    releases: tuple[Release, ...]
    ranked: int

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers left in float, in the order of the ranking."""
        return tuple(layer for release in self.releases for layer in release.layers)


@dataclass(frozen=True)
class LatencyCost:
    """The size and latency of a file with more layers in float than the one before, measured interleaved with int8.

    `ratio` is its latency relative to that of the file with no layer in float, with a 95 % interval.
    """

    layers: tuple[str, ...]
    bytes: int
    p50_ms: float
    ratio: Interval = field(metadata=FIGURE)
