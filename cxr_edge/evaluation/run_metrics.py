"""`metrics.json` of a run, and `cross_validation.json` over the runs of its folds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.errors import RunError
from cxr_edge.evaluation.metrics import ClassificationMetrics
from cxr_edge.records import JsonObject

SCHEMA = 2


@dataclass(frozen=True)
class RunMetrics:
    """What a run's float model does on the test split."""

    metrics: ClassificationMetrics
    phantoms: bool
    #: The Keras policy that it was trained with.
    precision_policy: str

    def to_json(self) -> JsonObject:
        return {
            "schema": SCHEMA,
            "part": "test",
            "data": str(TrainingData.PHANTOMS if self.phantoms else TrainingData.IMAGES),
            "precision_policy": self.precision_policy,
            **self.metrics.to_json(),
        }

    @classmethod
    def from_json(cls, record: Any) -> RunMetrics:
        """From `metrics.json` of this version or any before. Raises ValueError, which says what is wrong."""
        # Schema 1 had no number and no intervals; both say what the metrics are computed from.
        _check_schema(record)
        metrics = ClassificationMetrics.from_json(record)
        return cls(metrics, record.get("data") == TrainingData.PHANTOMS, str(record.get("precision_policy", "float32")))


@dataclass(frozen=True)
class CrossValidation:
    """The figures of all folds' test parts together, each image judged by the model that never saw it."""

    metrics: ClassificationMetrics
    phantoms: bool
    #: Accuracy by fold.
    fold_accuracy: tuple[float, ...]

    def to_json(self) -> JsonObject:
        return {
            "schema": SCHEMA,
            "data": str(TrainingData.PHANTOMS if self.phantoms else TrainingData.IMAGES),
            "fold_accuracy": list(self.fold_accuracy),
            **self.metrics.to_json(),
        }

    @classmethod
    def from_json(cls, record: Any) -> CrossValidation:
        """From `cross_validation.json` of this version or any before. Raises ValueError, which says what is wrong."""
        # Schema 1 had no number, and intervals in another form; both say what they are computed from.
        _check_schema(record)
        folds = tuple(float(accuracy) for accuracy in record.get("fold_accuracy", ()))
        return cls(ClassificationMetrics.from_json(record), record.get("data") == TrainingData.PHANTOMS, folds)


def pooled(folds: Sequence[RunMetrics]) -> CrossValidation:
    """The folds' confusion matrices added up. Areas under the ROC curve are not pooled: the models' scores differ."""
    matrices = [fold.metrics.confusion_matrix for fold in folds]
    matrix = tuple(tuple(map(sum, zip(*rows, strict=True))) for rows in zip(*matrices, strict=True))
    labels = folds[0].metrics.labels
    return CrossValidation(
        metrics=ClassificationMetrics(labels, matrix, (None,) * len(labels)),
        phantoms=folds[0].phantoms,
        fold_accuracy=tuple(fold.metrics.accuracy.value or 0.0 for fold in folds),
    )


def read_run_metrics(path: Path) -> RunMetrics:
    """Raises RunError where it cannot be read."""
    try:
        return RunMetrics.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None


def _check_schema(record: Any) -> None:
    schema = record.get("schema", 1) if isinstance(record, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(f"its schema is {schema}, this version of cxr-edge reads those up to {SCHEMA}")
