"""Classification metrics from probabilities. NumPy only: the device install has neither SciPy nor scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.intervals import Interval, mean_interval, wilson_interval
from cxr_edge.records import FIGURE


def confusion_matrix(targets: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """int64 `[K, K]`: rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    return matrix


def _roc_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float | None:
    """Area under the ROC curve of one class against the rest: the Mann-Whitney statistic, ties count half."""
    count = int(positive.sum())
    if count in (0, len(positive)):
        return None
    _, inverse, repeats = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(repeats) - (repeats - 1) / 2)[inverse]
    rank_sum = float(ranks[positive].sum())
    return (rank_sum - count * (count + 1) / 2) / (count * (len(positive) - count))


@dataclass(frozen=True)
class ClassMetrics:
    """One class against the rest; undefined figures are None."""

    label: str
    precision: Interval = field(metadata=FIGURE)
    recall: Interval = field(metadata=FIGURE)
    f1: float | None
    #: Images of the class.
    support: int
    #: Area under the ROC curve; None if the class or all others do not occur, or if it is unknown.
    auc: float | None


@dataclass(frozen=True)
class ClassificationMetrics:
    """The metrics derived from a confusion matrix, and the areas under the ROC curves.

    The balanced accuracy is the mean recall of the classes that occur, `macro_auc` the mean over the classes whose area
    is defined. Rows of the confusion matrix are true classes, columns are predicted ones.
    """

    images: int
    accuracy: Interval = field(metadata=FIGURE)
    balanced_accuracy: Interval = field(metadata=FIGURE)
    macro_auc: float | None
    classes: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(per_class.label for per_class in self.classes)

    @classmethod
    def from_json(cls, record: Any) -> ClassificationMetrics:
        """From a record of this or an earlier version: everything but the areas is computed from the confusion matrix.

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
        return metrics_of(labels, matrix, aucs)


def metrics_of(
    labels: Sequence[str], matrix: Sequence[tuple[int, ...]], aucs: Sequence[float | None]
) -> ClassificationMetrics:
    """The metrics of a confusion matrix, with the area under each class's ROC curve where it is known."""
    images = sum(map(sum, matrix))
    classes = []
    for index, (label, auc) in enumerate(zip(labels, aucs, strict=True)):
        hits, support, predicted = matrix[index][index], sum(matrix[index]), sum(row[index] for row in matrix)
        f1 = 2 * hits / (support + predicted) if support + predicted else None
        precision, recall = wilson_interval(hits, predicted), wilson_interval(hits, support)
        classes.append(ClassMetrics(label, precision, recall, f1, support, auc))
    areas = [area for area in aucs if area is not None]
    return ClassificationMetrics(
        images=images,
        accuracy=wilson_interval(sum(row[index] for index, row in enumerate(matrix)), images),
        balanced_accuracy=mean_interval([per_class.recall for per_class in classes]),
        macro_auc=sum(areas) / len(areas) if areas else None,
        classes=tuple(classes),
        confusion_matrix=tuple(matrix),
    )


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
    aucs = [_roc_auc(targets == index, probabilities[:, index]) for index in range(len(labels))]
    return metrics_of(labels, [tuple(row) for row in matrix.tolist()], aucs)
