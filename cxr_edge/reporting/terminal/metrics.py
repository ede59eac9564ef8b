"""Classification metrics, and images that were left out of them, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cxr_edge.evaluation.metrics import ClassificationMetrics
from cxr_edge.evaluation.run_metrics import CrossValidation
from cxr_edge.intervals import Interval
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table
from cxr_edge.wording import counted


def bounds(figure: Interval) -> str:
    """The interval of a share, in per cent; empty if there is none."""
    # 100 without the decimal, so that the metrics of three classes fit on a line.
    return "" if figure.low is None else f"{percent(figure.low)} to {percent(figure.high)}".replace("100.0", "100")


def with_bounds(figure: Interval) -> str:
    """A share in per cent with its interval."""
    return f"{percent(figure.value)} %" + (f" ({bounds(figure)})" if figure.low is not None else "")


def show_metrics(metrics: ClassificationMetrics, title: str, phantoms: bool) -> None:
    """Metrics per class with the confusion matrix beside them, and the summary line."""
    show_table(
        f"{title}: {counted(metrics.images, 'image')} (in %, with 95 % intervals)",
        ["class", "precision", "recall", "", "F1", "images", *(f"as\n{label}" for label in metrics.labels)],
        [
            [
                per_class.label,
                percent(per_class.precision.value),
                percent(per_class.recall.value),
                bounds(per_class.recall),
                percent(per_class.f1),
                str(per_class.support),
                *map(str, counts),
            ]
            for per_class, counts in zip(metrics.classes, metrics.confusion_matrix, strict=True)
        ],
    )
    auc = "-" if metrics.macro_auc is None else f"{metrics.macro_auc:.4f}"
    show(
        f"accuracy {with_bounds(metrics.accuracy)}, balanced accuracy {with_bounds(metrics.balanced_accuracy)}, "
        f"macro AUC {auc}"
    )
    if phantoms:
        show(PHANTOM_NOTE)


def show_cross_validation(figures: CrossValidation) -> None:
    """Metrics per class over all folds, and the accuracy over all images and of each fold."""
    metrics = figures.metrics
    show_table(
        f"Cross-validation, {len(figures.fold_accuracy)} folds: {metrics.images} images, each by the model that "
        "never saw it (95 % intervals)",
        ["class", "precision %", "recall %", "", *(f"as {label}" for label in metrics.labels)],
        [
            [
                per_class.label,
                percent(per_class.precision.value),
                percent(per_class.recall.value),
                bounds(per_class.recall),
                *map(str, counts),
            ]
            for per_class, counts in zip(metrics.classes, metrics.confusion_matrix, strict=True)
        ],
    )
    show(
        f"accuracy {with_bounds(metrics.accuracy)}, balanced accuracy {with_bounds(metrics.balanced_accuracy)}; "
        f"by fold: {', '.join(map(percent, figures.fold_accuracy))}"
    )
    if figures.phantoms:
        show(PHANTOM_NOTE)


def show_skipped(reasons: Sequence[str], where: str) -> None:
    """Show why images were left out: the first ten reasons, each naming its image, and `where` to find the others."""
    if reasons:
        were = "was" if len(reasons) == 1 else "were"
        show(f"warning: {counted(len(reasons), 'image')} cannot be used and {were} left out; {where}")
        _show_first(reasons)


def _show_first(lines: Sequence[str], most: int = 10) -> None:
    shown: Iterable[str] = lines[:most]
    for line in shown:
        show(f"  {line}")
    if len(lines) > most:
        show(f"  and {len(lines) - most} more")
