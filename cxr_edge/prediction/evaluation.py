"""What a model does on labelled images: the record of `evaluate --json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.evaluation.calibration import CalibrationError
from cxr_edge.evaluation.metrics import ClassificationMetrics
from cxr_edge.evaluation.operating import OperatingPoint, operating_point_of
from cxr_edge.evaluation.operating_figures import OperatingFigures, operating_figures
from cxr_edge.evaluation.operating_record import OperatingRecord, operating_record_of
from cxr_edge.prediction.prediction import SkippedImage

SCHEMA = 2


@dataclass(frozen=True)
class EvaluatedPoint:
    """An operating point and what it does on the images; `record` is what it promised, None of an older artifact."""

    point: OperatingPoint
    record: OperatingRecord | None
    figures: OperatingFigures

    def to_json(self) -> dict[str, Any]:
        return {**(self.record or self.point).to_json(), "figures": self.figures.to_json()}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a model on a part of some data.

    `data` says whether the images are phantoms; `recorded_calibration_error` is the artifact's on its test split at
    export; `warnings` are what is to be known of the model and of the images before any of it is used.
    """

    model: str
    part: str
    data: TrainingData
    metrics: ClassificationMetrics
    calibration_error: CalibrationError
    recorded_calibration_error: float | None
    operating_point: EvaluatedPoint | None
    skipped: tuple[SkippedImage, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "model": self.model,
            "part": self.part,
            "skipped": [skipped.to_json() for skipped in self.skipped],
            "data": str(self.data),
            "warnings": list(self.warnings),
            **self.metrics.to_json(),
            "calibration_error": {
                **self.calibration_error.to_json(),
                "on_its_test_split": self.recorded_calibration_error,
            },
            "operating_point": None if self.operating_point is None else self.operating_point.to_json(),
        }


def evaluated_point(
    artifact: Artifact, probabilities: NDArray[np.float32], targets: NDArray[np.int64]
) -> EvaluatedPoint | None:
    """What the artifact's operating point does with probabilities `[N, K]` of images of the label indices `[N]`."""
    value = artifact.metadata.operating_point
    point = operating_point_of(value)
    if point is None:
        return None
    figures = operating_figures(point, probabilities, targets, artifact.labels)
    return EvaluatedPoint(point, operating_record_of(value), figures)


def recorded_calibration_error(artifact: Artifact) -> float | None:
    """On the test split at export; None where none was recorded."""
    recorded: dict[str, float | None] = (artifact.parity or {}).get("calibration_error", {})
    return recorded.get("artifact")
