"""The paths in a run's folder, and how commands find a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.errors import RunError
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded
from cxr_edge.runs.config import RunConfig

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """Paths in a run folder. Creating this object creates no files."""

    folder: Path

    @property
    def config_file(self) -> Path:
        return self.folder / "run.json"

    @property
    def split_file(self) -> Path:
        return self.folder / "split.csv"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def best_weights(self) -> Path:
        return self.checkpoints / "best.h5"

    @property
    def start_weights(self) -> Path:
        """The weights that a student starts from, until it is trained."""
        return self.folder / "start.h5"

    @property
    def model_file(self) -> Path:
        return self.folder / "model.h5"

    @property
    def history_file(self) -> Path:
        return self.folder / "history.json"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def phantoms_folder(self) -> Path:
        """The images of a run that has no data set."""
        return self.folder / "phantoms"

    @property
    def bench_file(self) -> Path:
        """The record of the last benchmark of one of its bundles."""
        return self.folder / "bench.json"

    @property
    def audit_file(self) -> Path:
        """The audit of its data, if `audit --json` wrote it here; the model card reads it."""
        return self.folder / "audit.json"

    @property
    def evaluation_files(self) -> list[Path]:
        """Evaluations of its artifacts that `evaluate --json` wrote here; the model card reads them."""
        return sorted(self.folder.glob("evaluate*.json"))

    @property
    def tensorboard(self) -> Path:
        """Logs of `train --tensorboard`."""
        return self.folder / "tensorboard"

    @property
    def mlflow_run_file(self) -> Path:
        """The ID of its MLflow run, from `train --mlflow`, until that has everything."""
        return self.folder / "mlflow-run-id"

    @property
    def quantized(self) -> Path:
        return self.folder / "quantized"

    @property
    def bundle(self) -> Path:
        return self.bundle_of(None)

    def bundle_of(self, recipe: str | None) -> Path:
        """The bundle of a recipe; None for the one that `--format` and `--quantize` write to."""
        return self.folder / ("bundle" if recipe is None else f"bundle-{recipe}")

    def latest_bundle(self) -> Path:
        """The bundle that was written last; the default one if there is none yet."""
        manifests = self.folder.glob("bundle*/manifest.json")
        latest = max(manifests, key=lambda path: path.stat().st_mtime, default=None)
        return self.bundle if latest is None else latest.parent

    @property
    def option(self) -> str:
        """The value of `--run` that names it from the current folder."""
        inside = (RUNS / self.folder.name).resolve() == self.folder.resolve()
        return self.folder.name if inside else str(self.folder)

    def config(self) -> RunConfig:
        """The content of `run.json`. Raises RunError if it is missing or damaged."""
        try:
            return RunConfig.from_json(json.loads(read_bounded(self.config_file, MAX_RECORD_BYTES)))
        except FileNotFoundError:
            if folds := started_folds(self.folder):
                raise RunError(
                    f"{self.folder}: holds the folds of a cross-validation; name one, such as {folds[0].folder}"
                ) from None
            raise RunError(f"{self.folder}: not a run folder; create one with cxr-edge train") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config_file}: damaged ({error})") from None

    @property
    def training_data(self) -> TrainingData:
        """The kind of data it is trained on. Raises RunError as `config`."""
        return self.config().training_data

    @property
    def phantoms(self) -> bool:
        """Whether it is trained on synthetic images. Raises RunError as `config`."""
        return self.config().phantoms

    def require_model(self) -> None:
        """Raises RunError if the training has not finished."""
        self.config()
        if not self.model_file.is_file():
            raise RunError(
                f"{self.folder}: no trained model in it; finish the training with "
                f"cxr-edge train --run {self.folder} --resume"
            )


def started_folds(folder: Path) -> list[Run]:
    """The runs `fold-1` and so on of a cross-validation, in order, as far as they were started."""
    numbers = {path.parent.name.removeprefix("fold-") for path in folder.glob("fold-*/run.json")}
    return [Run(folder / f"fold-{number}") for number in sorted(filter(str.isdecimal, numbers), key=int)]


def run_named(name: Path) -> Run:
    """The run in a folder, or with that name under `runs/`. It need not exist."""
    inside = RUNS / name
    return Run(inside if len(name.parts) == 1 and not name.exists() and inside.is_dir() else name)


def new_run(folder: Path | None) -> Run:
    """The named run, or one under `runs/` named by the time. Nothing is created yet."""
    return Run(RUNS / datetime.now().strftime("%Y%m%d-%H%M%S")) if folder is None else run_named(folder)


def latest_run(trained: bool = False) -> Run:
    """The most recently started run under `runs/`.

    Args:
        trained: consider only runs with a trained model.

    Raises:
        RunError: no such run exists.
    """
    runs = [Run(path.parent) for path in RUNS.glob("*/run.json")] if RUNS.is_dir() else []
    if trained:
        runs = [run for run in runs if run.model_file.is_file()]
    if not runs:
        raise RunError(
            f"no {'trained ' if trained else ''}run under {RUNS}/ in {Path.cwd()}; start with cxr-edge train, "
            "or name a folder with --run"
        )
    return max(runs, key=lambda run: (run.config().started, run.folder.name))


def latest_started() -> Path:
    """The folder of the run or cross-validation under `runs/` that was started last.

    Raises:
        RunError: no such run exists.
    """
    # Runs themselves, of which a cross-validation has several.
    runs = {path.parent: [Run(path.parent)] for path in RUNS.glob("*/run.json")}
    runs |= {folder: folds for folder in RUNS.glob("*/") if (folds := started_folds(folder))}
    if not runs:
        return latest_run().folder
    return max(runs, key=lambda folder: (max(run.config().started for run in runs[folder]), folder.name))


def find_run(folder: Path | None) -> Run:
    """The named run, or the latest trained one; it has a model. Raises RunError."""
    run = latest_run(trained=True) if folder is None else run_named(folder)
    run.require_model()
    return run
