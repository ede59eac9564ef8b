"""The report's figures, as SVG to embed in the page."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from cxr_edge.benchmarking.record import Row
from cxr_edge.evaluation.calibration import BINS
from cxr_edge.reporting.html.plots import learning_curves, plain
from cxr_edge.runs.history import History


def svg(figure: Figure) -> str:
    """The drawing as an `svg` element; the same bytes for the same figure."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "cxr-edge", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawing = text.getvalue()
    # Matplotlib names a clipping path after all digits of its corners, the last of which depend on the processor.
    for name, corners in re.findall(r'<clipPath id="(\w+)">(.*?)</clipPath>', drawing, re.DOTALL):
        drawing = drawing.replace(name, f"p{hashlib.sha256(corners.encode()).hexdigest()[:10]}")
    return drawing[drawing.index("<svg") :]


def learning(history: History) -> str:
    return svg(learning_curves(history))


def class_curves(
    targets: NDArray[np.integer], models: Mapping[str, NDArray[np.floating]], labels: Sequence[str]
) -> str:
    """ROC and precision-recall of each class against the rest, one line per model; probabilities `[N, K]`."""
    figure = Figure(figsize=(3.4 * len(labels), 6.2), layout="constrained")
    for index, label in enumerate(labels):
        roc, recall = (
            figure.add_subplot(2, len(labels), index + 1),
            figure.add_subplot(2, len(labels), len(labels) + index + 1),
        )
        positive = targets == index
        for name, probabilities in models.items():
            scores = probabilities[:, index]
            if positive.any() and not positive.all():
                false, true, _ = roc_curve(positive, scores)
                roc.plot(false, true, label=name, linewidth=1.2)
                precision, recalls, _ = precision_recall_curve(positive, scores)
                recall.plot(recalls, precision, label=name, linewidth=1.2)
        roc.set(title=plain(label), xlabel="1 - specificity", ylabel="sensitivity")
        recall.set(xlabel="sensitivity (recall)", ylabel="precision", ylim=(0, 1.03))
        if index == 0:
            roc.legend(fontsize="x-small", loc="lower right")
    return svg(figure)


def reliability(
    targets: NDArray[np.integer], models: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]
) -> str:
    """Accuracy against confidence of the top class, one panel per model: before and after temperature scaling."""
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows), layout="constrained")
    for number, (name, pair) in enumerate(models.items(), start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
        for probabilities, when in zip(pair, ("before", "after"), strict=True):
            right = probabilities.argmax(axis=1) == targets
            # float32 sums may exceed 1 by a rounding error, which scikit-learn refuses.
            confidence = np.clip(probabilities.max(axis=1), 0, 1)
            accuracy, mean = calibration_curve(right, confidence, n_bins=BINS)
            axes.plot(mean, accuracy, marker="o", markersize=3, linewidth=1.2, label=when)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0.3, 1.02), ylim=(0, 1.03))
        axes.set_title(name, fontsize="small")
        axes.legend(fontsize="x-small")
    return svg(figure)


def tradeoff(rows: Sequence[Row]) -> str:
    """Latency against accuracy; the area of a dot is proportional to the size of the file."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    known = [(row, 100 * row.accuracy) for row in rows if row.accuracy is not None]
    sweep = len({row.threads for row in rows}) > 1
    for runtime in sorted({row.runtime for row, _ in known}):
        points = [(row, accuracy) for row, accuracy in known if row.runtime == runtime]
        axes.scatter(
            [row.one_figure_ms for row, _ in points],
            [accuracy for _, accuracy in points],
            s=[row.bytes / 4e5 for row, _ in points],
            alpha=0.55,
            label=runtime,
        )
    for row, accuracy in known:
        axes.annotate(
            row.artifact.removeprefix("xception-") + (f", {row.threads} thr." if sweep else ""),
            (row.one_figure_ms, accuracy),
            fontsize="xx-small",
            ha="center",
        )
    axes.set(xscale="log", xlabel="p50 (for a cascade the mean), ms; area: file size", ylabel="accuracy, %")
    axes.legend(fontsize="x-small", markerscale=0.4)
    return svg(figure)
