"""`predictions.csv` of a run: its model's predictions on its validation and test images, which it was not trained on.

Together, the test parts of a cross-validation's runs have every image once, predicted by the model that never saw it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.split import Split
from cxr_edge.errors import RunError
from cxr_edge.files import write_text
from cxr_edge.runs import Run

PREDICTED_PARTS = ("validation", "test")
_COLUMNS = ("path", "part", "sha256")


def predictions_file(run: Run) -> Path:
    """The path of `predictions.csv` in a run's folder; it need not exist."""
    return run.folder / "predictions.csv"


def write_predictions(run: Run, split: Split, probabilities: Mapping[str, NDArray[np.float32]]) -> None:
    """Write one row per image, atomically.

    Args:
        run: the run.
        split: its split.
        probabilities: `[N, K]` of each of `PREDICTED_PARTS`, in the order of `split.part`, without a temperature.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *split.labels])
    for part in PREDICTED_PARTS:
        for item, row in zip(split.part(part), probabilities[part], strict=True):
            # The shortest decimal that reads back as this float32.
            writer.writerow([item.path, item.part, item.sha256, *(str(value) for value in row)])
    write_text(predictions_file(run), text.getvalue())


def read_predictions(run: Run, split: Split) -> dict[str, NDArray[np.float32]]:
    """Read the probabilities that `write_predictions` wrote. Raises RunError if the file is damaged, or lists other
    images.
    """
    path = predictions_file(run)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
        images = [tuple(row[: len(_COLUMNS)]) for row in rows]
        probabilities = np.array([row[len(_COLUMNS) :] for row in rows], dtype=np.float32)
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None
    expected = [(item.path, item.part, item.sha256) for part in PREDICTED_PARTS for item in split.part(part)]
    if header != [*_COLUMNS, *split.labels] or images != expected:
        raise RunError(
            f"{path}: does not match the images and classes of {run.split_file}; remove it to have it written again"
        )
    validation = len(split.part("validation"))
    return {"validation": probabilities[:validation], "test": probabilities[validation:]}
