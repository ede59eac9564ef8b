"""`history.json`: the results of each epoch of a training, and which epoch's weights were kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge import records
from cxr_edge.errors import RunError
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded, write_json
from cxr_edge.intervals import Interval

SCHEMA = 3


@dataclass(frozen=True)
class Epoch:
    """Results of an epoch: on class-balanced, augmented training images, and afterwards on the validation split.

    A student's training loss and accuracy compare with its teacher's answers, its validation figures with the labels.
    """

    phase: str
    #: Within its phase, from 1.
    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: Interval
    validation_balanced_accuracy: Interval
    #: Ranks the epochs; higher is better: the negative cross-entropy on the validation split, averaged over classes; a
    #: student's negative divergence from its teacher, likewise.
    score: float
    #: Whether its weights were the best so far. The model has those of the last such epoch.
    kept: bool


@dataclass(frozen=True)
class History:
    """All epochs of a run, phase by phase: in `history.json`, and those of one phase in its state file."""

    epochs: tuple[Epoch, ...]
    schema: int = SCHEMA

    @property
    def kept(self) -> int | None:
        """Index of the epoch whose weights are the model's; None before there is one."""
        return max((index for index, epoch in enumerate(self.epochs) if epoch.kept), default=None)

    @classmethod
    def from_json(cls, record: Any, best_before: float = -float("inf")) -> History:
        """Parse a record of this or any earlier version.

        Args:
            record: parsed JSON.
            best_before: the best score before the first epoch, which determines the weights that older versions kept.

        Raises:
            ValueError: the record is invalid.
        """
        return records.from_json(cls, _migrated(record, best_before))


def read_history(path: Path) -> History:
    """Read `history.json`. Raises RunError if it cannot be read."""
    try:
        return History.from_json(json.loads(read_bounded(path, MAX_RECORD_BYTES)))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from None


def write_history(path: Path, history: History) -> None:
    """Write `history.json`, atomically."""
    write_json(path, records.to_json(history))


def _migrated(record: Any, best_before: float) -> Any:
    if isinstance(record, dict):
        return record if records.schema_of(record, SCHEMA) == SCHEMA else _scored_by_loss(record)
    # Schema 1: a list of rows without intervals or a mark for kept epochs, which are those that exceeded every earlier
    # score.
    if not isinstance(record, list) or not all(isinstance(row, dict) for row in record):
        raise ValueError("a list of epochs is needed")
    rows, best = [], best_before
    for row in record:
        score = float(row.get("score", best))
        rows.append({**row, "kept": score > best})
        for name in ("validation_accuracy", "validation_balanced_accuracy"):
            rows[-1][name] = {"value": row.get(name)}
        best = max(best, score)
    return _scored_by_loss({"epochs": rows})


def _scored_by_loss(record: Any) -> Any:
    """Schema 2 ranked epochs by balanced accuracy, which a resumed training cannot compare with its own scores."""
    try:
        epochs = [{**row, "score": -float(row["validation_loss"])} for row in record["epochs"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a list of epochs ({error})") from None
    return {**record, "epochs": epochs, "schema": SCHEMA}
