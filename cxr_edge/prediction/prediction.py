"""What an artifact says of images: the answers, and their record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.evaluation.operating import OperatingPoint, current_point
from cxr_edge.records import INLINE, OMITTED, JsonObject, from_json
from cxr_edge.records import to_json as written

SCHEMA = 2


@dataclass(frozen=True)
class Prediction:
    """What an artifact says of one image.

    `label` is the most probable class, `decision` what the operating point makes of it: a label, or
    `evaluation.operating.REFER`; None where the artifact has no operating point. `probabilities` are in the order of
    the artifact's labels. `warnings` must be known before any of it is used. `file` is None of an array,
    `dicom` of all but DICOM files. `heatmap` is float32 `[H, W, K]`, where it was asked for; `overlay` is the file that
    it was drawn to.
    """

    file: str | None
    label: str
    decision: str | None = field(metadata=OMITTED)
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    dicom: Mapping[str, str | None] | None = None
    heatmap: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    overlay: str | None = None

    def to_json(self) -> JsonObject:
        """As in `predict --json`."""
        value: JsonObject = written(self)
        return value


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why; the reason names the file."""

    path: str
    reason: str

    def to_json(self) -> JsonObject:
        """As in `predict --json`."""
        value: JsonObject = written(self)
        return value


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What answers: an artifact on a runtime.

    `ran_on` is what computes it, as the runtime says; `selection_note` how the runtime was selected, for people, None
    where there was nothing to choose; `warnings` what holds for every answer.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {"warning": "warning"}

    artifact: str
    sha256: str
    runtime: str
    ran_on: str
    selection_note: str | None = field(metadata={"key": "chosen"})
    labels: tuple[str, ...]
    operating_point: OperatingPoint | None
    trained_on: TrainingData | None
    warnings: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """The warnings in one line."""
        return "; ".join(self.warnings) or None


@dataclass(frozen=True, kw_only=True)
class PredictionBatch:
    """The answers to many images, and those that could not be read: the record of `predict --json`."""

    schema: int = SCHEMA
    notice: str = NOTICE
    answering: Answering = field(metadata=INLINE)
    predictions: tuple[Prediction, ...] = field(metadata={"key": "rows"})
    skipped: tuple[SkippedImage, ...] = ()

    @classmethod
    def from_json(cls, value: JsonObject) -> PredictionBatch:
        """Of this schema, or the first, which had no number, one warning at most, and told nothing of phantoms."""
        return from_json(cls, _current(value))


def _current(value: JsonObject) -> JsonObject:
    if "schema" in value:
        return value
    point, warning = value["operating_point"], value["warning"]
    return {
        "trained_on": None,
        **value,
        "operating_point": None if point is None else current_point(point),
        "warnings": [warning] if warning else [],
    }
