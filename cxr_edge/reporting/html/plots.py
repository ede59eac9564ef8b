"""Plots of a training run, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.files import replacing


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def learning_curves(rows: list[dict[str, Any]]) -> Figure:
    """Loss and accuracy over the epochs of all phases, from the rows of `history.json`."""
    epochs = range(1, len(rows) + 1)
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, training, validation, title in (
        (figure.add_subplot(1, 2, 1), "loss", "validation_loss", "loss"),
        (figure.add_subplot(1, 2, 2), "accuracy", "validation_accuracy", "accuracy"),
    ):
        axes.plot(epochs, [row[training] for row in rows], marker="o", label="training (augmented, weighted)")
        axes.plot(epochs, [row[validation] for row in rows], marker="o", label="validation")
        for index in range(1, len(rows)):
            if rows[index]["phase"] != rows[index - 1]["phase"]:
                axes.axvline(index + 0.5, color="grey", linestyle=":", label=f"{rows[index]['phase']} starts")
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.legend(fontsize="small")
    return figure


def plot_learning_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """`learning_curves` as a PNG file."""
    _save(learning_curves(rows), path)


def plot_confusion_matrix(metrics: dict[str, Any], path: Path) -> None:
    """Counts, shaded by the share of each true class."""
    labels = [row["label"] for row in metrics["classes"]]
    counts = metrics["confusion_matrix"]
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
    phantoms = ", phantoms" if metrics["data"] == TrainingData.PHANTOMS else ""
    axes.set_title(f"test split, {metrics['images']} images{phantoms}")
    _save(figure, path)
