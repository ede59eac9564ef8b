"""Cross-validation, of students too: every image is tested once, figures are of all folds, and it can be resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.data.split import Split, run_split
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.files import write_json
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import History
from cxr_edge.runs.progress import Progress
from cxr_edge.shrink_options import ShrinkOptions
from cxr_edge.training.result import TrainingResult
from tests.conftest import Cli

ARGUMENTS = ("--weights", "none", "--image-size", 71, "--folds", 3)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_phantoms(tmp_path / "data", 9, size=64)
    return tmp_path / "data"


class Trainer:
    """In place of minutes of training: a model that knows every class, but for one image of the second fold."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.interrupted_in = ""

    def __call__(self, run: Run, progress: Progress) -> TrainingResult:
        if run.folder.name == self.interrupted_in:
            run.checkpoints.mkdir()
            run.best_weights.touch()
            raise KeyboardInterrupt
        split = run_split(run)
        probabilities = np.eye(3)[split.targets("test")]
        if run.folder.name == "fold-2":
            probabilities[0] = np.roll(probabilities[0], 1)
        figures = classification_metrics(split.targets("test"), probabilities, split.labels)
        metrics = RunMetrics(data=TrainingData.IMAGES, precision_policy="float32", metrics=figures)
        write_json(run.metrics_file, to_json(metrics))
        run.model_file.touch()
        self.trained.append(run.folder.name)
        return TrainingResult(run, metrics, History(()))


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr("cxr_edge.training.train.train", trainer)
    return trainer


@pytest.mark.slow
def test_figures_are_those_of_all_folds(data: Path, tmp_path: Path, cli: Cli, trainer: Trainer) -> None:
    folder = tmp_path / "folds"
    result = cli("train", "--data", data, "--run", folder, *ARGUMENTS, "--json", tmp_path / "x.json")
    assert result.code == 0, result.err
    assert trainer.trained == ["fold-1", "fold-2", "fold-3"]
    record = json.loads((folder / "cross_validation.json").read_text())
    assert record == json.loads((tmp_path / "x.json").read_text())
    tested = [item.path for number in (1, 2, 3) for item in run_split(Run(folder / f"fold-{number}")).part("test")]
    assert sorted(tested) == sorted(path.relative_to(data).as_posix() for path in data.glob("*/*"))
    assert record["images"] == 27
    assert record["accuracy"] == pytest.approx(26 / 27)
    # Wilson's interval of 26 of 27.
    assert record["accuracy_interval"] == pytest.approx([0.8172, 0.9934], abs=1e-3)
    assert np.sum(record["confusion_matrix"]) == 27
    assert np.trace(record["confusion_matrix"]) == 26
    assert record["fold_accuracy"][0] == record["fold_accuracy"][2] == 1 > record["fold_accuracy"][1]
    assert sum(row["recall"] < 1 for row in record["classes"]) == 1
    assert "accuracy 96.3 % (81.7 to 99.3)" in result.out

    again = cli("train", "--data", data, "--run", folder, *ARGUMENTS)
    assert again.code == 2
    assert "already holds folds; resume with" in again.err
    # Nor is a single run started beside folds, or folds beside a run.
    assert "already holds folds" in cli("train", "--data", data, "--run", folder, *ARGUMENTS[:4]).err
    assert "already holds a run" in cli("train", "--data", data, "--run", folder / "fold-1", *ARGUMENTS).err


@pytest.mark.slow
def test_interrupted_folds_are_resumed(data: Path, tmp_path: Path, cli: Cli, trainer: Trainer) -> None:
    folder = tmp_path / "folds"
    trainer.interrupted_in = "fold-2"
    assert cli("train", "--data", data, "--run", folder, *ARGUMENTS, "--seed", 4).code != 0
    assert not (folder / "cross_validation.json").exists()
    trainer.interrupted_in = ""
    other = cli("train", "--run", folder, "--resume", "--seed", 5)
    assert (other.code, trainer.trained) == (2, ["fold-1"])
    assert "--seed 4" in other.err
    # What a kill leaves after a fold's model is on the disk.
    Run(folder / "fold-1").checkpoints.mkdir()
    (folder / "fold-1/.lock").touch()
    assert cli("train", "--run", folder, "--resume").code == 0
    assert not Run(folder / "fold-1").checkpoints.exists() and not (folder / "fold-1/.lock").exists()
    assert trainer.trained == ["fold-1", "fold-2", "fold-3"]
    assert {Run(folder / name).config().options.seed for name in trainer.trained} == {4}
    assert (folder / "cross_validation.json").is_file()


@pytest.mark.slow
def test_the_latest_training_may_be_a_cross_validation(
    data: Path, tmp_path: Path, cli: Cli, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer.interrupted_in = "older"
    assert cli("train", "--data", data, "--run", "runs/older", *ARGUMENTS[:4]).code == 130
    trainer.interrupted_in = "fold-2"
    assert cli("train", "--data", data, "--run", "runs/folds", *ARGUMENTS).code == 130
    trainer.interrupted_in = ""
    resumed = cli("train", "--resume")
    assert resumed.code == 0, resumed.err
    assert trainer.trained == ["fold-1", "fold-2", "fold-3"]


@pytest.mark.slow
def test_data_that_changed_between_folds_is_noticed(data: Path, tmp_path: Path, cli: Cli, trainer: Trainer) -> None:
    folder = tmp_path / "folds"
    trainer.interrupted_in = "fold-2"
    cli("train", "--data", data, "--run", folder, *ARGUMENTS)
    trainer.interrupted_in = ""
    write_phantoms(tmp_path / "more", 1, seed=77, size=64)
    next((tmp_path / "more" / "Normal").iterdir()).rename(data / "Normal" / "more.png")
    result = cli("train", "--run", folder, "--resume")
    assert result.code == 2
    assert "changed between them" in result.err
    # As the error advises.
    for name in ("fold-1", "fold-2"):
        shutil.rmtree(folder / name)
    trainer.trained.clear()
    assert cli("train", "--run", folder, "--resume").code == 0
    assert trainer.trained == ["fold-1", "fold-2"]
    assert (folder / "cross_validation.json").is_file()


@pytest.mark.slow
def test_folds_of_another_cross_validation_are_not_pooled(
    data: Path, tmp_path: Path, cli: Cli, trainer: Trainer
) -> None:
    for name, seed in (("folds", 4), ("others", 5)):
        trainer.interrupted_in = "fold-3"
        cli("train", "--data", data, "--run", tmp_path / name, *ARGUMENTS, "--seed", seed)
    trainer.interrupted_in = ""
    shutil.rmtree(tmp_path / "folds/fold-1")
    assert cli("train", "--data", data, "--run", tmp_path / "folds", *ARGUMENTS, "--seed", 5).code == 2
    shutil.rmtree(tmp_path / "folds/fold-2")
    shutil.copytree(tmp_path / "others/fold-2", tmp_path / "folds/fold-2")
    result = cli("train", "--run", tmp_path / "folds", "--resume")
    assert result.code == 2
    assert "fold-2 and fold-3 were started with different options" in result.err


def test_nothing_is_left_of_folds_that_cannot_start(tmp_path: Path, cli: Cli, trainer: Trainer) -> None:
    assert cli("train", "--data", tmp_path / "gone", "--run", tmp_path / "folds", *ARGUMENTS).code == 2
    assert not (tmp_path / "folds").exists()


@pytest.fixture
def teachers(data: Path, tmp_path: Path, cli: Cli, trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cross-validation whose students are planned in no time, as the full network."""

    from cxr_edge.shrinking.plan import Plan

    def plan(teacher: RunConfig, model: object, split: Split, options: ShrinkOptions, progress: Progress) -> Plan:
        size = options.image_size or teacher.options.image_size
        return Plan(teacher.network, size, keras_model, 1000, {}, (), None)

    keras_model = SimpleNamespace(save_weights=lambda path, save_format: Path(path).touch())
    monkeypatch.setattr("cxr_edge.shrinking.plan.plan", plan)
    monkeypatch.setattr("cxr_edge.training.classifier.load_classifier", lambda run: None)
    assert cli("train", "--data", data, "--run", tmp_path / "folds", *ARGUMENTS, "--seed", 4).code == 0
    trainer.trained.clear()
    return tmp_path / "folds"


@pytest.mark.slow
def test_each_fold_has_a_student_that_is_tested_on_its_teachers_images(
    teachers: Path, tmp_path: Path, cli: Cli, trainer: Trainer
) -> None:
    students = tmp_path / "students"
    options = ("--macs", 0.5, "--epochs", 3)
    trainer.interrupted_in = "fold-2"
    interrupted = cli("shrink", teachers, "--run", students, *options)
    assert interrupted.code == 130
    assert f"cxr-edge train --run {students} --resume" in interrupted.err
    again = cli("shrink", teachers, "--run", students, *options)
    assert (again.code, "already holds folds; resume with" in again.err) == (2, True)
    trainer.interrupted_in = ""
    assert cli("train", "--run", students, "--resume", "--epochs", 4).code == 2
    resumed = cli("train", "--run", students, "--resume", "--json", tmp_path / "x.json")
    assert resumed.code == 0, resumed.err
    assert trainer.trained == ["fold-1", "fold-2", "fold-3"]
    assert json.loads((tmp_path / "x.json").read_text())["images"] == 27
    for name in trainer.trained:
        student, teacher = Run(students / name), Run(teachers / name)
        config = student.config()
        assert config.student is not None
        assert config.student.teacher == str(teacher.folder)
        assert (config.options.epochs, config.student.macs_budget) == (3, 0.5)
        assert student.split_file.read_bytes() == teacher.split_file.read_bytes()
    whole = cli("shrink", teachers, "--run", tmp_path / "whole", *options, "--json", tmp_path / "y.json")
    assert whole.code == 0, whole.err
    assert (tmp_path / "y.json").read_text() == (tmp_path / "x.json").read_text()


@pytest.mark.slow
def test_students_that_do_not_belong_together_are_not_pooled(
    teachers: Path, tmp_path: Path, cli: Cli, trainer: Trainer
) -> None:
    students = tmp_path / "students"
    trainer.interrupted_in = "fold-3"
    assert cli("shrink", teachers, "--run", students).code == 130
    assert cli("shrink", teachers, "--run", tmp_path / "others", "--macs", 0.5).code == 130
    trainer.interrupted_in = ""
    shutil.rmtree(students / "fold-2")
    shutil.copytree(tmp_path / "others/fold-2", students / "fold-2")
    mixed = cli("train", "--run", students, "--resume")
    assert mixed.code == 2
    assert "fold-1 and fold-2 are not students of the same cross-validation" in mixed.err
    shutil.rmtree(students / "fold-2")
    shutil.copytree(teachers / "fold-2", students / "fold-2")
    beside = cli("train", "--run", students, "--resume")
    assert beside.code == 2
    assert "fold-1 and fold-2 are not students of the same cross-validation" in beside.err
    shutil.rmtree(students / "fold-2")
    (teachers / "fold-1/model.h5").write_bytes(b"trained again")
    outdated = cli("train", "--run", students, "--resume")
    assert outdated.code == 2
    assert "the teachers of fold-1 were trained again since; remove these students" in outdated.err
    assert not (students / "fold-2").exists()
    teachers.rename(tmp_path / "moved")
    assert "are no longer in" in cli("train", "--run", students, "--resume").err


def test_students_are_not_written_into_their_teachers(
    teachers: Path, tmp_path: Path, cli: Cli, trainer: Trainer
) -> None:
    into = cli("shrink", teachers, "--run", teachers)
    assert (into.code, "holds the teachers" in into.err) == (2, True)
    (teachers / "fold-2/model.h5").unlink()
    unfinished = cli("shrink", teachers, "--run", tmp_path / "students")
    assert (unfinished.code, "fold-2 is not trained yet" in unfinished.err) == (2, True)
    assert not (tmp_path / "students").exists()
