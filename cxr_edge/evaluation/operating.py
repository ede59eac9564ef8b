"""The decision rule: when a class is called, and when an image goes to a radiologist (`docs/decision-rule.md`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.records import JsonObject, from_json

#: The default class not to be missed, if it is among the labels.
USUAL_LABEL = "COVID-19"
REFER = "refer to a radiologist"
SCHEMA = 2


@dataclass(frozen=True)
class OperatingPoint:
    """The rule: a class is called if its probability is at least `called_from`; a class other than `sensitive_class` is
    called only if the probability of `sensitive_class` is below `suspected_from`.

    All other images are referred. `docs/decision-rule.md` describes how to implement the rule.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {"description": "sentence"}

    sensitive_class: str
    suspected_from: float
    called_from: float
    schema: int = SCHEMA

    def decide(
        self, probabilities: NDArray[np.floating], labels: Sequence[str]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Label indices `[N]`, and a mask `[N]` of images that are referred instead, from probabilities `[N, K]`."""
        # float32 would round a threshold to a different number.
        exact = probabilities.astype(np.float64)
        index = list(labels).index(self.sensitive_class)
        others = exact.copy()
        others[:, index] = -1
        called = np.where(exact[:, index] >= self.suspected_from, index, others.argmax(axis=1))
        return called, exact[np.arange(len(called)), called] < self.called_from

    @property
    def sentence(self) -> str:
        """The rule in words."""
        label, suspected, called = self.sensitive_class, shown(self.suspected_from), shown(self.called_from)
        if self.called_from <= 0:
            return (
                f"{label} is called at {suspected} % or more, else the most probable other class; nothing is referred"
            )
        if self.called_from <= self.suspected_from:
            return (
                f"{label} is called at {suspected} % or more, and another class at {called} % or more where {label} "
                "has less; everything else is referred to a radiologist"
            )
        return (
            f"{label} is called at {called} % or more and referred at {suspected} % or more; another class is called "
            f"at {called} % or more where {label} has less than {suspected} %; everything else is referred to a "
            "radiologist"
        )


def shown(share: float) -> str:
    """A threshold as a percentage, to three significant digits; near 100 %, to three digits of the distance from it."""
    distance = 100 * min(share, 1 - share)
    decimals = max(0, 2 - math.floor(math.log10(distance))) if distance > 0 else 0
    text = f"{100 * share:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def current_point(value: JsonObject) -> JsonObject:
    """Migrate an operating point of any schema. The first had no version number and less telling names."""
    if "schema" in value:
        return value
    names = {"sensitive_class": "label", "suspected_from": "threshold", "called_from": "refer_below"}
    return {"schema": SCHEMA, **{name: value[old] for name, old in names.items()}}


def operating_point_of(value: JsonObject | None) -> OperatingPoint | None:
    """From the `operating_point` of an artifact's metadata; None if it has none. Raises ValueError, KeyError."""
    return None if value is None else from_json(OperatingPoint, current_point(value))
