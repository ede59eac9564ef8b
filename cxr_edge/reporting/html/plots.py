"""Plots of a training run, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cxr_edge.errors import first_line
from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.files import replacing
from cxr_edge.runs.history import History

if TYPE_CHECKING:
    from cxr_edge.training.result import TrainingResult


def plain(text: str) -> str:
    """Text that matplotlib shows literally: it would parse text between two dollar signs as a formula."""
    return text.replace("$", r"\$")


def learning_curves(history: History) -> Figure:
    """Loss and accuracy over the epochs of all phases, with the epoch whose weights were kept marked."""
    epochs = history.epochs
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    losses, accuracies = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    _curves(losses, history, [epoch.loss for epoch in epochs], [epoch.validation_loss for epoch in epochs])
    validation = [epoch.validation_accuracy for epoch in epochs]
    _curves(accuracies, history, [epoch.accuracy for epoch in epochs], [figure.value or 0.0 for figure in validation])
    known = [(number, figure.low, figure.high) for number, figure in enumerate(validation, start=1)]
    bounded = [(number, low, high) for number, low, high in known if low is not None and high is not None]
    if bounded:
        numbers, lows, highs = zip(*bounded, strict=True)
        accuracies.fill_between(numbers, lows, highs, color="C1", alpha=0.15, label="its 95 % interval")
    losses.set_title("loss")
    accuracies.set_title("accuracy")
    handles, names = accuracies.get_legend_handles_labels()
    figure.legend(handles, names, fontsize="small", loc="outside lower center", ncols=5)
    return figure


def _curves(axes: Axes, history: History, training: list[float], validation: list[float]) -> None:
    epochs = history.epochs
    numbers = range(1, len(epochs) + 1)
    axes.plot(numbers, training, marker="o", label="training (augmented, class-balanced)")
    axes.plot(numbers, validation, marker="o", label="validation")
    for index in range(1, len(epochs)):
        if epochs[index].phase != epochs[index - 1].phase:
            axes.axvline(index + 0.5, color="grey", linestyle=":", label=f"{epochs[index].phase} starts")
    if history.kept is not None:
        axes.axvline(history.kept + 1, color="green", linestyle="--", linewidth=1, label="kept")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def confusion_plot(run_metrics: RunMetrics) -> Figure:
    """Counts, shaded by their share of each true class."""
    metrics = run_metrics.metrics
    labels = [plain(label) for label in metrics.labels]
    counts = metrics.confusion_matrix
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, (values, parts) in enumerate(zip(counts, shares, strict=True)):
        for column, (value, part) in enumerate(zip(values, parts, strict=True)):
            axes.text(column, row, str(value), ha="center", va="center", color="white" if part > 0.5 else "black")
    axes.set_xticks(range(len(labels)), labels, rotation=20, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"test split, {metrics.images} images" + (", phantoms" if run_metrics.phantoms else ""))
    return figure


def draw_run_plots(result: TrainingResult) -> list[str]:
    """Write `learning_curves.png` and `confusion_matrix.png` of a finished run.

    Returns:
        A warning for each plot that cannot be drawn: a failed plot is no reason to lose a training.
    """
    plots: dict[str, Callable[[], Figure]] = {
        "learning_curves.png": lambda: learning_curves(result.history),
        "confusion_matrix.png": lambda: confusion_plot(result.metrics),
    }
    warnings = []
    for name, draw in plots.items():
        try:
            _save(draw(), result.run.folder / name)
        except Exception as error:
            warnings.append(f"{result.run.folder / name}: cannot be drawn ({first_line(error)})")
    return warnings


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
