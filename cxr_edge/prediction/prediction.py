"""An artifact's answers to images, and their record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.cascade import Member
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.evaluation.operating import OperatingPoint, current_point
from cxr_edge.records import INLINE, OMITTED, JsonObject, from_json
from cxr_edge.records import to_json as written

SCHEMA = 3


@dataclass(frozen=True)
class Prediction:
    """An artifact's answer to one image.

    `label` is the most probable class, `decision` the operating point's decision: a label, or
    `evaluation.operating.REFER`; None if the artifact has no operating point. `probabilities` are in the order of the
    artifact's labels. Read `warnings` before using any of it. `file` is None for an array, `dicom` for anything but
    DICOM files. `heatmap` is float32 `[H, W, K]`, if requested; `overlay` is the file that it was drawn to.
    `answered_by` is the model of a cascade that gave the answer and the heat map; None for any other artifact.
    """

    file: str | None
    label: str
    decision: str | None = field(metadata=OMITTED)
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    dicom: Mapping[str, str | None] | None = None
    heatmap: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    overlay: str | None = None
    answered_by: Member | None = None

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
    """The source of answers: an artifact on a runtime.

    `ran_on` is the hardware that the runtime reports; `selection_note` says how the runtime was selected, None if there
    was no choice; `warnings` apply to every answer. The small model of a cascade answers from the top probability
    `small_from` on; None for any other artifact.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {"warning": "warning"}

    artifact: str
    sha256: str
    runtime: str
    ran_on: str
    selection_note: str | None
    labels: tuple[str, ...]
    operating_point: OperatingPoint | None
    trained_on: TrainingData | None
    #: SHA-256 of the teacher that the artifact's Keras model was distilled from; None without a teacher.
    teacher_sha256: str | None = None
    warnings: tuple[str, ...]
    small_from: float | None = None

    @property
    def warning(self) -> str | None:
        """The warnings in one line."""
        return "; ".join(self.warnings) or None


@dataclass(frozen=True, kw_only=True)
class PredictionBatch:
    """The answers to many images, and the images that could not be read: the record of `predict --json`."""

    schema: int = SCHEMA
    notice: str = NOTICE
    answering: Answering = field(metadata=INLINE)
    predictions: tuple[Prediction, ...] = field(metadata={"key": "rows"})
    skipped: tuple[SkippedImage, ...] = ()

    @classmethod
    def from_json(cls, value: JsonObject) -> PredictionBatch:
        """From this schema, or an earlier one.

        Schema 2 called the selection note `chosen`; schema 1 also had no version number, at most one warning, and no
        note on phantoms.
        """
        return from_json(cls, _current(value))


def _current(value: JsonObject) -> JsonObject:
    if "selection_note" in value:
        return value
    value = {**value, "selection_note": value.get("chosen")}
    if "schema" in value:
        return value
    point, warning = value["operating_point"], value["warning"]
    return {
        "trained_on": None,
        **value,
        "operating_point": None if point is None else current_point(point),
        "warnings": [warning] if warning else [],
    }
