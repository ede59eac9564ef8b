"""Records of accuracy control: what int8 may lose, what it loses, and the layers that stay in float for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxr_edge.errors import OptionError
from cxr_edge.evaluation.demands import SLACK
from cxr_edge.intervals import Interval
from cxr_edge.records import FIGURE


@dataclass(frozen=True)
class AccuracyDemand:
    """The most that int8 may lose on validation images, in points; None for what is not demanded.

    `max_drop` is of the accuracy, `max_disagreement` of the images, those with another class than the Keras model's.

    Raises:
        OptionError: out of range.
    """

    max_drop: float | None = None
    max_disagreement: float | None = None

    def __post_init__(self) -> None:
        for option, points in (("--max-drop", self.max_drop), ("--max-disagreement", self.max_disagreement)):
            if points is not None and not 0 <= points < 100:
                raise OptionError(f"{option} {points}: points from 0 to below 100 are needed")

    @property
    def is_stated(self) -> bool:
        """Whether anything is demanded."""
        return self.max_drop is not None or self.max_disagreement is not None

    def __str__(self) -> str:
        named = (("a drop", self.max_drop), ("a disagreement", self.max_disagreement))
        return " and ".join(f"{name} of at most {points:g} points" for name, points in named if points is not None)


@dataclass(frozen=True)
class Loss:
    """What int8 loses against the Keras model on some images, in points.

    `drop` is of the accuracy, with its 95 % interval where no image counts twice; `disagreement` is the share of images
    with another class.
    """

    images: int
    drop: Interval = field(metadata=FIGURE)
    disagreement: float


@dataclass(frozen=True)
class Losses:
    """The losses on the validation images as they are, and on those of the shift suite, all shifts together."""

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
        """Whether the demand is met, by the figures themselves: a few hundred images cannot prove it."""
        return self.excess(demand) <= SLACK

    def __str__(self) -> str:
        return "; ".join(
            f"drop {loss.drop.value:.2f} and disagreement {loss.disagreement:.2f} points {where}"
            for loss, where in ((self.plain, "as they are"), (self.shifted, "under shift"))
        )


@dataclass(frozen=True)
class Release:
    """A tensor that is no longer rounded to int8, and the layers that are left in float for it beside earlier ones.

    `snr_db` is the signal-to-noise ratio of the logits with this tensor alone in int8.
    """

    tensor: str
    layers: tuple[str, ...]
    snr_db: float


@dataclass(frozen=True)
class AccuracyControl:
    """What was demanded, and the fewest of the ranked releases that meet it, in their order.

    `before` is int8 without any of them, simulated; `after` likewise with them, and in an artifact's metadata the file
    itself. `ranked` is how many releases there were to choose from.
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
    """A file with some more layers in float than the one before: its size and latency, interleaved with int8's.

    `ratio` is to the file with no layer in float, with its 95 % interval.
    """

    layers: tuple[str, ...]
    bytes: int
    p50_ms: float
    ratio: Interval = field(metadata=FIGURE)
