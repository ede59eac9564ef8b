"""MLflow: a run on the tracking server, with the options as parameters and the figures as metrics.

The destination is set in MLflow's own way, by `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cxr_edge.console import quiet
from cxr_edge.data.split import Split
from cxr_edge.errors import RunError, first_line
from cxr_edge.files import write_text
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import Epoch
from cxr_edge.runs.progress import Progress
from cxr_edge.train_options import TrainOptions
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.tracking import figures_of_epoch, figures_of_test, step_of

# Standard output is for results, and `--json -` allows nothing else there.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
with quiet():
    import mlflow


class MlflowTracking(Progress):
    """One MLflow run per training run; a resumed run continues the same one.

    It sends parameters, metrics, `metrics.json` and `history.json`; no images and no file names except the `data`
    option.
    """

    _options: TrainOptions
    #: The steps that the server had when the run was resumed.
    _sent: frozenset[int] = frozenset()

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        self._options = config.options
        file = run.mlflow_run_file
        known = file.read_text(encoding="utf-8").strip() if file.is_file() else None
        with _explained():
            active = mlflow.start_run(run_id=known, run_name=None if known else run.folder.name)
            if known is None:
                write_text(file, f"{active.info.run_id}\n")
                mlflow.log_params(to_json(config.options))
                mlflow.set_tags({"cxr_edge": config.cxr_edge, "data_sha256": config.data_sha256})
            else:
                history = mlflow.MlflowClient().get_metric_history(known, "train/loss")
                self._sent = frozenset(metric.step for metric in history)

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        step = step_of(epoch, self._options)
        if step not in self._sent:
            with _explained():
                mlflow.log_metrics(figures_of_epoch(epoch), step)

    def run_finished(self, result: TrainingResult) -> None:
        with _explained():
            mlflow.log_metrics(figures_of_test(result.metrics), len(result.history.epochs))
            for path in (result.run.metrics_file, result.run.history_file):
                mlflow.log_artifact(str(path))
            mlflow.end_run()
        result.run.mlflow_run_file.unlink()

    def run_stopped(self) -> None:
        # Report the reason for stopping, not the failure to reach the server.
        with suppress(Exception), quiet():
            mlflow.end_run("KILLED")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        with quiet():
            yield
    except Exception as error:
        raise RunError(
            f"MLflow at {mlflow.get_tracking_uri()}: {first_line(error)}; set MLFLOW_TRACKING_URI to your server; "
            "if an epoch was finished, cxr-edge train --resume sends what is missing"
        ) from None
