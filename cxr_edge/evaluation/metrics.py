"""Classification metrics from probabilities. NumPy alone: the device install has neither scipy nor scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.intervals import Interval, mean_interval, wilson_interval
from cxr_edge.records import JsonObject


def confusion_matrix(targets: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """int64 `[K, K]`: rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    return matrix


def _roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve of one class against the rest: the Mann-Whitney statistic, ties counted half."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    _, inverse, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(repeats) - (repeats - 1) / 2)[inverse]
    rank_sum = float(ranks[positive].sum())
    return (rank_sum - count * (count + 1) / 2) / (count * (len(positive) - count))


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest; a figure is None where it is undefined."""

    label: str
    precision: Interval
    recall: Interval
    f1: float | None
    #: Images of the class.
    support: int
    #: Area under the ROC curve.
    auc: float | None


@dataclass(frozen=True)
class ClassificationMetrics:
    """What follows from a confusion matrix, and the areas under the ROC curves."""

    labels: tuple[str, ...]
    #: Rows are true classes, columns predicted ones.
    confusion_matrix: tuple[tuple[int, ...], ...]
    #: By class; None where a class or all others do not occur, or where it is not known.
    aucs: tuple[float | None, ...]

    @property
    def images(self) -> int:
        return sum(map(sum, self.confusion_matrix))

    @property
    def accuracy(self) -> Interval:
        return wilson_interval(sum(row[index] for index, row in enumerate(self.confusion_matrix)), self.images)

    @property
    def balanced_accuracy(self) -> Interval:
        """Mean recall of the classes that occur."""
        return mean_interval([per_class.recall for per_class in self.classes])

    @property
    def macro_auc(self) -> float | None:
        """Mean area of the classes that have one."""
        areas = [area for area in self.aucs if area is not None]
        return sum(areas) / len(areas) if areas else None

    @property
    def classes(self) -> tuple[ClassMetrics, ...]:
        classes = []
        for index, (label, auc) in enumerate(zip(self.labels, self.aucs, strict=True)):
            hits, support = self.confusion_matrix[index][index], sum(self.confusion_matrix[index])
            predicted = sum(row[index] for row in self.confusion_matrix)
            classes.append(
                ClassMetrics(
                    label=label,
                    precision=wilson_interval(hits, predicted),
                    recall=wilson_interval(hits, support),
                    f1=2 * hits / (support + predicted) if support + predicted else None,
                    support=support,
                    auc=auc,
                )
            )
        return tuple(classes)

    def to_json(self) -> JsonObject:
        """A figure by its name, and its 95 % interval as `[low, high]` beside it."""
        return {
            "images": self.images,
            **_figure("accuracy", self.accuracy),
            **_figure("balanced_accuracy", self.balanced_accuracy),
            "macro_auc": self.macro_auc,
            "classes": [
                {
                    "label": per_class.label,
                    **_figure("precision", per_class.precision),
                    **_figure("recall", per_class.recall),
                    "f1": per_class.f1,
                    "support": per_class.support,
                    "auc": per_class.auc,
                }
                for per_class in self.classes
            ],
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
        }

    @classmethod
    def from_json(cls, record: Any) -> ClassificationMetrics:
        """From `to_json` of this version or one before: all but the areas is computed again from the confusion matrix.

        Raises:
            ValueError: says what is wrong.
        """
        try:
            labels = tuple(str(row["label"]) for row in record["classes"])
            matrix = tuple(tuple(int(count) for count in row) for row in record["confusion_matrix"])
            aucs = tuple(row.get("auc") for row in record["classes"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no classification metrics ({error})") from None
        if len(matrix) != len(labels) or any(len(row) != len(labels) for row in matrix):
            raise ValueError(f"a confusion matrix of {len(matrix)} rows for {len(labels)} labels")
        return cls(labels, matrix, aucs)


def _figure(name: str, figure: Interval) -> JsonObject:
    interval = None if figure.low is None else [figure.low, figure.high]
    return {name: figure.value, f"{name}_interval": interval}


def classification_metrics(
    targets: NDArray[np.integer], probabilities: NDArray[np.floating], labels: tuple[str, ...]
) -> ClassificationMetrics:
    """The metrics of predictions.

    Args:
        targets: label indices `[N]`.
        probabilities: `[N, K]`, in the order of `labels`.
        labels: K names.
    """
    matrix = confusion_matrix(targets, probabilities.argmax(axis=1), len(labels))
    return ClassificationMetrics(
        labels=labels,
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
        aucs=tuple(_roc_auc(targets == index, probabilities[:, index]) for index in range(len(labels))),
    )
