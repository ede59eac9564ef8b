"""`metrics.json` of a run, and `cross_validation.json` over the runs of its folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.errors import RunError
from cxr_edge.evaluation.metrics import ClassificationMetrics, metrics_of
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded
from cxr_edge.records import INLINE, schema_of
from cxr_edge.runs.config import MeasuredLatency

SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """The figures of a run's float model on the test split: `metrics.json`, and what `train --json` writes."""

    schema: int = SCHEMA
    part: str = "test"
    data: TrainingData
    #: The Keras dtype policy it was trained with.
    precision_policy: str
    metrics: ClassificationMetrics = field(metadata=INLINE)

    @property
    def phantoms(self) -> bool:
        """Whether it was trained on synthetic images."""
        return self.data is TrainingData.PHANTOMS

    @classmethod
    def from_json(cls, record: Any) -> RunMetrics:
        """From `metrics.json` of this or any earlier version. Raises ValueError, which says what is wrong."""
        # Schema 1 had no version number and no intervals; either schema holds what the metrics are computed from.
        schema_of(record, SCHEMA)
        return cls(
            data=_data_of(record),
            precision_policy=str(record.get("precision_policy", "float32")),
            metrics=ClassificationMetrics.from_json(record),
        )


@dataclass(frozen=True, kw_only=True)
class StudentMetrics:
    """What `shrink --json` writes: the student's figures, and its measured latency if its network was chosen by it."""

    metrics: RunMetrics = field(metadata=INLINE)
    latency: MeasuredLatency | None = None


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The figures over the test parts of all folds, each image judged by the model that never saw it.

    `cross_validation.json`, and what `train --folds --json` writes.
    """

    schema: int = SCHEMA
    data: TrainingData
    #: Accuracy by fold.
    fold_accuracy: tuple[float, ...]
    metrics: ClassificationMetrics = field(metadata=INLINE)

    @property
    def phantoms(self) -> bool:
        """Whether the folds were trained on synthetic images."""
        return self.data is TrainingData.PHANTOMS

    @classmethod
    def from_json(cls, record: Any) -> CrossValidation:
        """From `cross_validation.json` of this or any earlier version. Raises ValueError, which says what is wrong."""
        # Schema 1 had no version number, and intervals in another form; both schemas hold the data behind them.
        schema_of(record, SCHEMA)
        return cls(
            data=_data_of(record),
            fold_accuracy=tuple(float(accuracy) for accuracy in record.get("fold_accuracy", ())),
            metrics=ClassificationMetrics.from_json(record),
        )


def pooled(folds: Sequence[RunMetrics]) -> CrossValidation:
    """The sum of the folds' confusion matrices. Areas under the ROC curve are not pooled: the models' scores differ."""
    matrices = [fold.metrics.confusion_matrix for fold in folds]
    matrix = tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*matrices, strict=True))
    labels = folds[0].metrics.labels
    return CrossValidation(
        data=folds[0].data,
        fold_accuracy=tuple(fold.metrics.accuracy.value or 0.0 for fold in folds),
        metrics=metrics_of(labels, matrix, [None] * len(labels)),
    )


def read_run_metrics(path: Path) -> RunMetrics:
    """Read `metrics.json`. Raises RunError if it cannot be read."""
    try:
        return RunMetrics.from_json(json.loads(read_bounded(path, MAX_RECORD_BYTES)))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None


def _data_of(record: Mapping[str, Any]) -> TrainingData:
    return TrainingData.PHANTOMS if record.get("data") == TrainingData.PHANTOMS else TrainingData.IMAGES
