"""The record of a model's evaluation on labelled images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.evaluation.calibration import CalibrationError
from cxr_edge.evaluation.groups import Grouping
from cxr_edge.evaluation.metrics import ClassificationMetrics
from cxr_edge.evaluation.operating import OperatingPoint, operating_point_of
from cxr_edge.evaluation.operating_figures import OperatingFigures, operating_figures
from cxr_edge.evaluation.operating_record import OperatingRecord, operating_record_of
from cxr_edge.prediction.prediction import SkippedImage
from cxr_edge.records import INLINE

SCHEMA = 2
#: The `part` of an evaluation on the test split of the model's own run.
TEST_SPLIT = "test split"


@dataclass(frozen=True)
class EvaluatedPoint:
    """An operating point and its figures on the images; `record` has its promises, None for an older artifact."""

    point: OperatingPoint = field(metadata=INLINE)
    record: OperatingRecord | None = field(metadata=INLINE)
    figures: OperatingFigures


@dataclass(frozen=True)
class EvaluatedCalibration:
    """The calibration error on the images, and the artifact's on its test split at export, None if not recorded."""

    error: CalibrationError = field(metadata=INLINE)
    on_its_test_split: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a model on a part of some data: the record of `evaluate --json`.

    `data` says whether the images are phantoms; `warnings` are remarks on the model and the images to read before using
    any of it. `artifact_sha256` is the artifact's; None for the Keras model, and in older records.
    """

    schema: int = SCHEMA
    model: str
    part: str
    skipped: tuple[SkippedImage, ...]
    data: TrainingData
    warnings: tuple[str, ...]
    metrics: ClassificationMetrics = field(metadata=INLINE)
    calibration_error: EvaluatedCalibration
    operating_point: EvaluatedPoint | None
    artifact_sha256: str | None = None
    #: How many of its images are, byte for byte, in each part of the split that the model was made with. None on that
    #: split's own test part, where the run is not at hand, and in older records.
    in_split: dict[str, int] | None = None
    groupings: tuple[Grouping, ...] = ()


def evaluated_point(
    artifact: Artifact, probabilities: NDArray[np.float32], targets: NDArray[np.int64]
) -> EvaluatedPoint | None:
    """Apply the artifact's operating point to probabilities `[N, K]` of images with label indices `[N]`."""
    value = artifact.metadata.operating_point
    point = operating_point_of(value)
    if point is None:
        return None
    figures = operating_figures(point, probabilities, targets, artifact.labels)
    return EvaluatedPoint(point, operating_record_of(value), figures)


def recorded_calibration_error(artifact: Artifact) -> float | None:
    """The calibration error on the test split at export; None if not recorded."""
    return None if artifact.parity is None else artifact.parity.result.calibration_error.artifact
