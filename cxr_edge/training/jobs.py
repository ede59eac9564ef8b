"""A complete training: a new run, or an interrupted one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cxr_edge.choices import Strategy
from cxr_edge.data.split import run_split
from cxr_edge.errors import RunError
from cxr_edge.evaluation.run_metrics import read_run_metrics
from cxr_edge.runs import Run
from cxr_edge.runs.history import read_history
from cxr_edge.runs.leftovers import remove_leftovers
from cxr_edge.runs.lock import locked
from cxr_edge.runs.network import Network
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import TrainOptions, require_same
from cxr_edge.training.cluster import cluster_of_environment
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.start import require_new, start_run, starting
from cxr_edge.training.tracking import tracked
from cxr_edge.wording import counted

if TYPE_CHECKING:
    from cxr_edge.training.strategy import Distribution


def train_new(
    run: Run, options: TrainOptions, progress: Progress = SILENT, network: Network | None = None
) -> TrainingResult:
    """Start a run in a folder without one, and train it; its network is Xception unless another one is passed.

    With several workers, only the chief starts the run and writes to it; the others only train.

    Raises:
        OptionError, DataError, RunError, WeightsError, MissingDependencyError: nothing is left of the run if no epoch
            was finished.
    """
    options.check()
    require_new(run)
    workers = _connected(options, progress)
    if workers is not None and not workers.is_chief:
        return _train_with_chief(run, progress, workers)
    progress = tracked(options, progress)
    with starting(run):
        remove_leftovers(run)
        start_run(run, options, progress, network)
        return train_started(run, progress, workers)


def resume(run: Run, stated: Mapping[str, Any], progress: Progress = SILENT) -> TrainingResult:
    """Train an interrupted run from its last finished epoch; any stated option must equal the one it was started with.

    A finished run whose MLflow run is still open is only reported again.

    Raises:
        OptionError, DataError, RunError, WeightsError, MissingDependencyError.
    """
    options = run.config().options
    require_same(options, stated, run.folder)
    if run.model_file.is_file():
        with locked(run.folder):
            remove_leftovers(run)
            if run.mlflow_run_file.is_file():
                return _report_finished(run, tracked(options, progress))
        raise RunError(f"{run.folder}: its training is finished; nothing to resume")
    workers = _connected(options, progress)
    if workers is not None and not workers.is_chief:
        return _train_with_chief(run, progress, workers)
    progress = tracked(options, progress)
    with locked(run.folder):
        remove_leftovers(run)
        return train_started(run, progress, workers)


def _connected(options: TrainOptions, progress: Progress) -> Distribution | None:
    """The workers of a distributed training, each of which can reach the others; None if there is only this process."""
    if options.strategy is not Strategy.MULTI_WORKER:
        return None
    cluster = cluster_of_environment()
    with progress.working(f"waiting for {counted(len(cluster.workers) - 1, 'other worker')}"):
        cluster.wait_for_peers()
    with progress.working("starting TensorFlow"):
        from cxr_edge.training.strategy import distribution_of

        return distribution_of(options.strategy)


def train_started(run: Run, progress: Progress = SILENT, workers: Distribution | None = None) -> TrainingResult:
    """Train a run that has its `run.json`, while holding its lock; see `cxr_edge.training.train`."""
    with _reported(run, progress):
        if workers is not None:
            workers.barrier()
        with progress.working("starting TensorFlow"):
            # Takes seconds, so only after the options and the images are checked.
            from cxr_edge.training import train

        result = train.train(run, progress)
        if workers is not None:
            workers.barrier()
        progress.run_finished(result)
    return result


def _report_finished(run: Run, progress: Progress) -> TrainingResult:
    result = _finished(run)
    with _reported(run, progress):
        progress.run_finished(result)
    return result


@contextmanager
def _reported(run: Run, progress: Progress) -> Iterator[None]:
    """Report that a run is started, and that it is stopped if the body fails."""
    progress.run_started(run, run.config(), run_split(run))
    try:
        yield
    except BaseException:
        progress.run_stopped()
        raise


def _train_with_chief(run: Run, progress: Progress, workers: Distribution) -> TrainingResult:
    """Train as a worker other than the chief: it writes nothing, and does not report that the run has finished."""
    with progress.working("waiting for the chief to prepare the run"):
        workers.barrier()
    from cxr_edge.training import train

    train.fit(run, progress)
    with progress.working("waiting for the chief to write the model"):
        workers.barrier()
    return _finished(run)


def _finished(run: Run) -> TrainingResult:
    return TrainingResult(run, read_run_metrics(run.metrics_file), read_history(run.history_file))
