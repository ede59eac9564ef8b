"""The parity gate: demands on how an artifact compares with its Keras model, and the outcome of each."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import OptionError
from cxr_edge.option import flag_of


@dataclass(frozen=True)
class Gate:
    """The limits that an artifact must meet, from 0 to 1; drops are absolute differences in accuracy and sensitivity.

    Measured on X-rays at 128 px (seed 0), fine-tuned int8 / int8-ptq: agreement on the test part 99.5 / 99.3 %, under
    each shift 96.3 to 100 / 93.8 to 98.8 % of 80 images, on 600 images of a later release 98.7 / 97.2 %. By agreement
    both look good, but losses per class say otherwise: int8-ptq moves 12 of the shifted images out of Normal and none
    into it, and 17 and none of the later release (failed); fine-tuned int8 moves 9 shifted images out of COVID-19 and 3
    into it (p = 0.07: too few images to tell). Chance would agree on a third.
    """

    #: On images like the training images: all parts of the split that were scored.
    min_agreement: float = 0.95
    max_accuracy_drop: float = 0.02
    max_sensitivity_drop: float = 0.05
    #: On images under each shift of the suite, and on images from elsewhere.
    min_shifted_agreement: float = 0.9
    #: Maximum net loss of a class, as a share of the images that the Keras model assigns to it.
    max_class_loss: float = 0.01

    def check(self) -> None:
        """Raises OptionError for a share outside 0..1."""
        for name, value in asdict(self).items():
            if not 0 <= value <= 1:
                raise OptionError(f"{flag_of(name)} {value}: must be a share from 0 to 1")


@dataclass(frozen=True)
class Demand:
    """One demand: the figure, its limit, the bound that is compared with the limit, and the verdict.

    `condition` names the images unless they are the labelled ones.
    """

    name: str
    value: float
    limit: float
    bound: float
    verdict: Verdict
    condition: str | None = None

    @property
    def wants_more(self) -> bool:
        """Whether the figure must be at least the limit, rather than at most."""
        return "agreement" in self.name
