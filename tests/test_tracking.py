"""A training followed in TensorBoard and in MLflow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from cxr_edge.files import write_json
from cxr_edge.intervals import Interval
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.history import Epoch, History, write_history
from cxr_edge.runs.progress import Progress
from cxr_edge.training.result import TrainingResult
from tests.conftest import Cli, know_everything


def _epoch(phase: str, number: int) -> Epoch:
    accuracy = Interval(0.5 + 0.1 * number)
    return Epoch(phase, number, 1 / number, 0.5, 0.9, accuracy, accuracy, 0.5, True)


#: As `--head-epochs 1 --epochs 2` has them.
EPOCHS = (_epoch("head", 1), _epoch("fine-tuning", 1), _epoch("fine-tuning", 2))


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that takes no time, and reports its epochs; the first time it is interrupted after the first."""
    interrupted = []

    def train(run: Run, progress: Progress) -> TrainingResult:
        if not interrupted:
            interrupted.append(run)
            progress.epoch_finished(EPOCHS[0], 1)
            # What an interrupted training leaves, so that it can be resumed.
            run.checkpoints.mkdir(exist_ok=True)
            run.best_weights.touch()
            raise KeyboardInterrupt
        # A resumed training reports its last epoch again.
        for epoch in EPOCHS:
            progress.epoch_finished(epoch, 2)
        metrics = know_everything(run).metrics
        write_history(run.history_file, History(EPOCHS))
        write_json(run.metrics_file, to_json(metrics))
        run.model_file.touch()
        return TrainingResult(run, metrics, History(EPOCHS))

    monkeypatch.setattr("cxr_edge.training.train.train", train)


def _train_twice(cli: Callable[..., Any], run: Path, option: str) -> None:
    arguments = ("--phantoms", 10, "--head-epochs", 1, "--epochs", 2)
    assert cli("train", "--run", run, *arguments, option).code == 130
    resumed = cli("train", "--run", run, "--resume")
    assert resumed.code == 0, resumed.err


def test_tensorboard_shows_every_epoch(cli: Callable[..., Any], quick_training: None, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _train_twice(cli, tmp_path / "run", "--tensorboard")
    logs = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    steps = {tag: [event.step for event in logs.Tensors(tag)] for tag in logs.Tags()["tensors"]}
    assert steps["train/loss"] == steps["validation/balanced_accuracy"] == [1, 1, 2, 3]
    assert steps["test/accuracy"] == steps["test/recall/COVID-19"] == [3]
    (accuracy,) = logs.Tensors("test/accuracy")
    assert accuracy.tensor_proto.float_val == [1.0]


def test_tensorboard_logging_does_not_import_tensorflow() -> None:
    """Imported by TensorBoard, TensorFlow would print warnings about missing CPU features and the missing GPU."""
    pytest.importorskip("tensorboard")
    code = """
import sys
from pathlib import Path
from types import SimpleNamespace
from cxr_edge.training.tensorboard_logs import TensorBoardLogs

TensorBoardLogs().run_started(SimpleNamespace(tensorboard=Path("logs")), SimpleNamespace(options=None), None)
print("tensorflow" in sys.modules)
"""
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert started.stdout == "False\n"


def test_mlflow_has_one_run_with_options_and_figures(
    cli: Callable[..., Any], quick_training: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "lungs")
    _train_twice(cli, tmp_path / "run", "--mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("lungs").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert (run.data.params["epochs"], run.data.params["phantoms"]) == ("2", "10")
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3]
    assert run.data.metrics["test/accuracy"] == 1.0
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"metrics.json", "history.json"}


class Server(ModuleType):
    """MLflow's client and server in one, as far as `MlflowTracking` uses them; away where a metric is in `refused`."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        self.refused = ""
        self.status: list[str] = []
        self.steps: dict[str, list[int]] = {}
        self.artifacts: list[str] = []

    def start_run(self, run_id: str | None, run_name: str | None) -> SimpleNamespace:
        self.status.append("RUNNING")
        return SimpleNamespace(info=SimpleNamespace(run_id="the only one"))

    def log_params(self, params: object) -> None: ...

    def set_tags(self, tags: object) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        if f"{next(iter(metrics))} {step}" == self.refused:
            raise ConnectionError("the server is away")
        for name in metrics:
            self.steps.setdefault(name, []).append(step)

    def log_artifact(self, path: str) -> None:
        self.artifacts.append(Path(path).name)

    def end_run(self, status: str = "FINISHED") -> None:
        self.status.append(status)

    def get_tracking_uri(self) -> str:
        return "http://server"

    def MlflowClient(self) -> Server:  # noqa: N802
        return self

    def get_metric_history(self, run_id: str, key: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=step) for step in self.steps.get(key, ())]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setitem(sys.modules, "mlflow", server)
    monkeypatch.delitem(sys.modules, "cxr_edge.training.mlflow_tracking", raising=False)
    return server


def test_what_mlflow_missed_is_sent_by_a_resume(cli: Cli, quick_training: None, server: Server, tmp_path: Path) -> None:
    """With both trackers, so that one of them has ended when the other one fails."""
    run = tmp_path / "run"

    def away_at(metric: str, *arguments: object) -> None:
        server.refused = metric
        result = cli("train", "--run", run, *arguments)
        assert (result.code, "the server is away" in result.err) == (2, True)
        assert server.status[-1] == "KILLED"

    options = ("--phantoms", 10, "--head-epochs", 1, "--epochs", 2, "--mlflow", "--tensorboard")
    assert cli("train", "--run", run, *options).code == 130
    away_at("train/loss 2", "--resume")
    assert server.steps["train/loss"] == [1]
    away_at("test/accuracy 3", "--resume")
    assert server.steps["train/loss"] == [1, 2, 3]
    assert "test/accuracy" not in server.steps
    server.refused = ""
    finished = cli("train", "--run", run, "--resume")
    assert finished.code == 0
    assert "accuracy" in finished.out
    assert server.steps["train/loss"] == [1, 2, 3]
    assert server.steps["test/accuracy"] == [3]
    assert (server.artifacts, server.status[-1]) == (["metrics.json", "history.json"], "FINISHED")
    assert "nothing to resume" in cli("train", "--run", run, "--resume").err


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_package_that_is_not_installed_is_named_before_anything_is_done(
    package: str, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.training.tracking.find_spec", lambda name: None)
    result = cli("train", "--run", tmp_path / "run", f"--{package}")
    assert result.code == 2
    assert f"cxr-edge[{package}]" in result.err
    assert not (tmp_path / "run").exists()


def test_a_finished_fold_that_mlflow_missed_is_sent_by_a_resume(
    cli: Cli, quick_training: None, server: Server, tmp_path: Path
) -> None:
    folds = tmp_path / "folds"
    options = ("--phantoms", 10, "--head-epochs", 1, "--epochs", 2, "--folds", 2, "--mlflow")
    assert cli("train", "--run", folds, *options).code == 130
    server.refused = "test/accuracy 3"
    assert cli("train", "--run", folds, "--resume").code == 2
    assert Run(folds / "fold-1").model_file.exists()
    server.refused = ""
    assert cli("train", "--run", folds, "--resume").code == 0
    assert server.steps["test/accuracy"] == [3, 3]
