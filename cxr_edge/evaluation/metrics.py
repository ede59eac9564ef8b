"""Classification metrics from probabilities. NumPy alone: the device install has neither scipy nor scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def balanced_accuracy(targets: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> float:
    """Mean recall of the classes that occur in `targets`."""
    matrix = confusion_matrix(targets, predicted, classes)
    support = matrix.sum(axis=1)
    return float((matrix.diagonal()[support > 0] / support[support > 0]).mean())


def classification_metrics(
    targets: NDArray[np.integer], probabilities: NDArray[np.floating], labels: tuple[str, ...]
) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro AUC, and precision, recall, F1 and support a class.

    Args:
        targets: label indices `[N]`.
        probabilities: `[N, K]`, in the order of `labels`.
        labels: K names.

    Returns:
        JSON-ready; None where a figure is undefined (a class that does not occur).
    """
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(targets, predicted, len(labels))
    per_class = []
    areas = []
    for index, label in enumerate(labels):
        hit, support, claimed = (int(n) for n in (matrix[index, index], matrix[index].sum(), matrix[:, index].sum()))
        area = _roc_auc(targets == index, probabilities[:, index])
        if area is not None:
            areas.append(area)
        per_class.append(
            {
                "label": label,
                "precision": _ratio(hit, claimed),
                "recall": _ratio(hit, support),
                "f1": _ratio(2 * hit, support + claimed),
                "support": support,
                "auc": area,
            }
        )
    return {
        "images": len(targets),
        "accuracy": float((predicted == targets).mean()),
        "balanced_accuracy": balanced_accuracy(targets, predicted, len(labels)),
        "macro_auc": sum(areas) / len(areas) if areas else None,
        "classes": per_class,
        "confusion_matrix": matrix.tolist(),
    }
