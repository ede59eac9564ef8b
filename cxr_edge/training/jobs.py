"""A complete training: a new run, or an interrupted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_edge.data.split import run_split
from cxr_edge.errors import RunError
from cxr_edge.runs import Run
from cxr_edge.runs.leftovers import remove_leftovers
from cxr_edge.runs.lock import locked
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import TrainOptions, require_same
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.start import start_run, starting
from cxr_edge.training.tracking import tracked


def train_new(run: Run, options: TrainOptions, progress: Progress = SILENT) -> TrainingResult:
    """Start a run in a folder without one, and train it.

    Raises:
        OptionError, DataError, RunError, WeightsError, MissingDependencyError: nothing is left of the run if no epoch
            was finished.
    """
    options.check()
    progress = tracked(options, progress)
    with starting(run):
        remove_leftovers(run)
        start_run(run, options, progress)
        return train_started(run, progress)


def resume(run: Run, stated: Mapping[str, Any], progress: Progress = SILENT) -> TrainingResult:
    """Train an interrupted run from its last finished epoch; any stated option must equal the one it was started with.

    Raises:
        OptionError, DataError, RunError, WeightsError, MissingDependencyError.
    """
    options = run.config().options
    require_same(options, stated, run.folder)
    progress = tracked(options, progress)
    with locked(run.folder):
        remove_leftovers(run)
        if run.model_file.is_file():
            raise RunError(f"{run.folder}: its training is finished; nothing to resume")
        return train_started(run, progress)


def train_started(run: Run, progress: Progress = SILENT) -> TrainingResult:
    """Train a run that has its `run.json` and is held; see `cxr_edge.training.train`."""
    progress.run_started(run, run.config(), run_split(run))
    try:
        with progress.working("starting TensorFlow"):
            # Takes seconds, so only after the options and the images are checked.
            from cxr_edge.training import train

        result = train.train(run, progress)
    except BaseException:
        progress.run_stopped()
        raise
    progress.run_finished(result)
    return result
