"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass

from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.runs import Run
from cxr_edge.runs.history import History


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: its metrics on the test split, and its epochs."""

    run: Run
    metrics: RunMetrics
    history: History
