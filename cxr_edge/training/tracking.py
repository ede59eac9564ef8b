"""The trackers of a training run besides the terminal: TensorBoard logs and MLflow."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from cxr_edge.errors import MissingDependencyError, extra_with
from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.runs.history import Epoch
from cxr_edge.runs.progress import Progress, Several
from cxr_edge.train_options import TrainOptions


def tracked(options: TrainOptions, shown: Progress) -> Progress:
    """The progress that is shown, plus the trackers that the options request.

    Raises:
        MissingDependencyError: a tracker's package is not installed.
    """
    trackers = list(_trackers(options))
    return Several((shown, *trackers)) if trackers else shown


def _trackers(options: TrainOptions) -> Iterator[Progress]:
    if options.tensorboard:
        _require("tensorboard")
        from cxr_edge.training.tensorboard_logs import TensorBoardLogs

        yield TensorBoardLogs()
    if options.mlflow:
        _require("mlflow")
        from cxr_edge.training.mlflow_tracking import MlflowTracking

        yield MlflowTracking()


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise MissingDependencyError(package, str(extra_with(package)))


def step_of(epoch: Epoch, options: TrainOptions) -> int:
    """The number of an epoch within its run, over both phases, from 1."""
    return epoch.epoch + (0 if epoch.phase == "head" else options.head_epochs)


def figures_of_epoch(epoch: Epoch) -> dict[str, float]:
    """The figures of an epoch by name; both libraries group names by the part before the slash."""
    figures = {
        "train/loss": epoch.loss,
        "train/accuracy": epoch.accuracy,
        "validation/loss": epoch.validation_loss,
        "validation/accuracy": epoch.validation_accuracy.value,
        "validation/balanced_accuracy": epoch.validation_balanced_accuracy.value,
    }
    return {name: value for name, value in figures.items() if value is not None}


def figures_of_test(metrics: RunMetrics) -> dict[str, float]:
    """The figures on the test split."""
    test = metrics.metrics
    figures = {
        "test/accuracy": test.accuracy.value,
        "test/balanced_accuracy": test.balanced_accuracy.value,
        "test/macro_auc": test.macro_auc,
        **{f"test/recall/{label.label}": label.recall.value for label in test.classes},
    }
    return {name: value for name, value in figures.items() if value is not None}
