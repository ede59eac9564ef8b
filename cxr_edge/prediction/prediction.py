"""What an artifact says of images: the answers, and their record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.evaluation.operating import OperatingPoint, operating_point_of

SCHEMA = 2


@dataclass(frozen=True)
class Prediction:
    """What an artifact says of one image.

    `label` is the most probable class, `decision` what the operating point makes of it: a label, or
    `evaluation.operating.REFER`; None where the artifact has no operating point. `probabilities` are in the order of
    the artifact's labels. `warnings` are what is to be known before any of it is used. `file` is None of an array,
    `dicom` of all but DICOM files. `heatmap` is float32 `[H, W, K]`, where it was asked for; `overlay` is the file that
    it was drawn to.
    """

    file: str | None
    label: str
    decision: str | None
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...] = ()
    dicom: Mapping[str, str | None] | None = None
    heatmap: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    overlay: str | None = None

    def to_json(self) -> dict[str, Any]:
        optional = {
            "decision": self.decision,
            "dicom": None if self.dicom is None else dict(self.dicom),
            "overlay": self.overlay,
            "heatmap": None if self.heatmap is None else self.heatmap.tolist(),
        }
        return {
            "file": self.file,
            "label": self.label,
            "probabilities": list(self.probabilities),
            "warnings": list(self.warnings),
            **{name: value for name, value in optional.items() if value is not None},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prediction:
        """Of this schema, or the first, whose answers had warnings of DICOM files only."""
        heatmap = value.get("heatmap")
        return cls(
            file=value["file"],
            label=value["label"],
            decision=value.get("decision"),
            probabilities=tuple(value["probabilities"]),
            warnings=tuple(value.get("warnings", ())),
            dicom=value.get("dicom"),
            heatmap=None if heatmap is None else np.array(heatmap, dtype=np.float32),
            overlay=value.get("overlay"),
        )


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why; the reason names the file."""

    path: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"path": self.path, "reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What answers: an artifact on a runtime.

    `ran_on` is what computes it, as the runtime says; `chosen` how the runtime was chosen, for people, None where there
    was nothing to choose; `warnings` what holds for every answer.
    """

    artifact: str
    sha256: str
    runtime: str
    ran_on: str
    chosen: str | None
    labels: tuple[str, ...]
    operating_point: OperatingPoint | None
    trained_on: TrainingData | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PredictionBatch:
    """The answers to many images, and those that could not be read: the record of `predict --json`."""

    answering: Answering
    predictions: tuple[Prediction, ...]
    skipped: tuple[SkippedImage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        answering = self.answering
        point = answering.operating_point
        return {
            "schema": SCHEMA,
            "notice": NOTICE,
            "artifact": answering.artifact,
            "sha256": answering.sha256,
            "runtime": answering.runtime,
            "ran_on": answering.ran_on,
            "chosen": answering.chosen,
            "labels": list(answering.labels),
            "operating_point": None if point is None else point.to_json(),
            "trained_on": answering.trained_on,
            "warning": "; ".join(answering.warnings) or None,
            "warnings": list(answering.warnings),
            "rows": [prediction.to_json() for prediction in self.predictions],
            "skipped": [skipped.to_json() for skipped in self.skipped],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PredictionBatch:
        """Of this schema, or the first, which had no number, one warning at most, and told nothing of phantoms."""
        value = _current(value)
        answering = Answering(
            artifact=value["artifact"],
            sha256=value["sha256"],
            runtime=value["runtime"],
            ran_on=value["ran_on"],
            chosen=value["chosen"],
            labels=tuple(value["labels"]),
            operating_point=operating_point_of(value["operating_point"]),
            trained_on=None if value["trained_on"] is None else TrainingData(value["trained_on"]),
            warnings=tuple(value["warnings"]),
        )
        return cls(
            answering,
            tuple(map(Prediction.from_json, value["rows"])),
            tuple(SkippedImage(**skipped) for skipped in value["skipped"]),
        )


def _current(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if "schema" in value:
        return value
    warnings: Sequence[str] = [value["warning"]] if value["warning"] else []
    return {"trained_on": None, "skipped": [], **value, "warnings": warnings}
