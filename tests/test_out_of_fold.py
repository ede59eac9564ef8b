"""Out-of-fold probabilities: each image scored by the model that never saw it, without the run's test images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_edge.data.predictions import predictions_file, read_predictions, write_predictions
from cxr_edge.data.split import Split, SplitItem, run_split, write_split
from cxr_edge.errors import DataError, OptionError, RunError
from cxr_edge.evaluation.operating_fit import Basis
from cxr_edge.evaluation.temperature import apply_temperature, fit_temperature
from cxr_edge.exporting.operating_demand import operating_demand
from cxr_edge.files import write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig, Student
from cxr_edge.runs.network import XCEPTION
from cxr_edge.train_options import completed
from cxr_edge.training.out_of_fold import folds_beside, out_of_fold

LABELS = ("COVID-19", "Normal")
FOLDS = 3


def write_run(folder: Path, split: Split, **options: Any) -> Run:
    """Write a run up to its predictions: its options, its split, and an empty file for the model."""
    run = Run(folder)
    stored = completed({"data": str(split.root), "image_size": 71, **options})
    write_json(run.config_file, to_json(RunConfig("", "", LABELS, {}, "", stored)))
    write_split(split, run.split_file)
    run.model_file.touch()
    random = np.random.default_rng(len(folder.name))
    predictions = {}
    for part in ("validation", "test"):
        logits = random.normal(size=(len(split.part(part)), 2))
        logits[np.arange(len(logits)), split.targets(part)] += 2
        predictions[part] = apply_temperature(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 1)
    write_predictions(run, split, predictions)
    return run


def split_with(root: Path, tested: int) -> Split:
    """90 images, of which every third is tested, and every fifth of the others validated."""
    root.mkdir(exist_ok=True)
    parts = ["test" if n % FOLDS == tested else "validation" if n % 5 == 0 else "train" for n in range(90)]
    items = tuple(SplitItem(f"{n}.png", LABELS[n % 2], parts[n], "", f"{n:064}") for n in range(90))
    return Split(root, LABELS, items)


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    for number in range(1, FOLDS + 1):
        split = split_with(tmp_path / "data", number - 1)
        write_run(tmp_path / "folds" / f"fold-{number}", split, folds=FOLDS, fold=number)
    return tmp_path / "folds"


def test_predictions_are_read_as_they_were_written(folds: Path) -> None:
    run = Run(folds / "fold-1")
    split = run_split(run)
    before = predictions_file(run).read_bytes()
    predictions = read_predictions(run, split)
    assert [len(predictions[part]) for part in ("validation", "test")] == [
        len(split.part(p)) for p in ("validation", "test")
    ]
    write_predictions(run, split, predictions)
    assert predictions_file(run).read_bytes() == before
    other = replace(split, items=split.items[1:])
    with pytest.raises(RunError, match=r"predictions\.csv: does not match the images"):
        read_predictions(run, other)
    predictions_file(run).write_text("path,part,sha256,COVID-19,Normal\nx,test,0,many,few\n")
    with pytest.raises(RunError, match=r"predictions\.csv: cannot be read"):
        read_predictions(run, split)
    # Longer than any cell: a quote that is not closed.
    predictions_file(run).write_text('"' + before.decode() * 50)
    with pytest.raises(RunError, match=r"predictions\.csv: cannot be read"):
        read_predictions(run, split)
    run.split_file.write_text('"' + run.split_file.read_text() * 50)
    with pytest.raises(DataError, match=r"split\.csv: cannot be read"):
        run_split(run)


def test_every_image_occurs_once_except_the_test_images_of_the_run(folds: Path) -> None:
    run = Run(folds / "fold-2")
    assert folds_beside(run) == folds.resolve()
    pooled = out_of_fold(folds, run)
    probabilities, targets = [], []
    for number in (1, 3):
        fold = Run(folds / f"fold-{number}")
        split = run_split(fold)
        predicted = read_predictions(fold, split)
        # Each with the temperature that its own validation part asks for.
        temperature = fit_temperature(predicted["validation"], split.targets("validation"))
        probabilities.append(apply_temperature(predicted["test"], temperature))
        targets.append(split.targets("test"))
    assert np.array_equal(pooled.probabilities, np.concatenate(probabilities))
    assert np.array_equal(pooled.targets, np.concatenate(targets))


def test_a_run_outside_the_folds_uses_those_it_is_given(folds: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", split_with(tmp_path / "data", 0), seed=7)
    assert folds_beside(run) is None
    split = run_split(run)
    own = read_predictions(run, split)["validation"]
    demand = operating_demand(run, split, None, 0.8, folds)
    assert demand is not None
    record = demand.record(own)
    assert record.fitted.basis is Basis.OUT_OF_FOLD
    assert record.fitted.missed.images + record.fitted.wrong_calls.images == 60
    assert record.validation.images == len(own)
    alone = operating_demand(run, split, None, 0.8, None)
    assert alone is not None
    assert alone.record(own).fitted.missed.images == (split.targets("validation") == 0).sum()


def test_a_demand_on_no_class_is_refused(folds: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", split_with(tmp_path / "data", 0))
    split = replace(run_split(run), labels=("Tuberculosis", "Normal"))
    assert operating_demand(run, split, None, None, None) is None
    with pytest.raises(OptionError, match="--sensitivity: no class is called COVID-19"):
        # Also at its usual value.
        operating_demand(run, split, None, 0.95, None)
    with pytest.raises(OptionError, match="--folds: no class is called COVID-19"):
        operating_demand(run, split, None, None, folds)
    demand = operating_demand(run, split, "Tuberculosis", 0.99, None)
    assert demand is not None and demand.sensitivity == 0.99


def changed_student(run: Run, **changes: Any) -> Run:
    config = run.config()
    assert config.student is not None
    write_json(run.config_file, to_json(replace(config, student=replace(config.student, **changes))))
    return run


def students_of_a_kind_are_told_apart(students: Path, data: Path) -> None:
    """Refused: those of other teachers, of another input size, and of a version that recorded no budget."""
    fourth = changed_student(Run(students / "fold-4"), macs_budget=0.5)
    assert len(out_of_fold(students, fourth).targets) == 60
    # Students of students: a few percent apart.
    assert len(out_of_fold(students, changed_student(fourth, teacher_macs=21)).targets) == 60
    with pytest.raises(OptionError, match="or of another kind of teacher"):
        out_of_fold(students, changed_student(fourth, teacher_macs=80))
    changed_student(fourth, teacher_macs=20)
    config = fourth.config()
    write_json(fourth.config_file, to_json(replace(config, options=replace(config.options, image_size=96))))
    with pytest.raises(OptionError, match="--image-size 71"):
        out_of_fold(students, fourth)
    write_json(fourth.config_file, to_json(config))
    for number in range(1, 5):
        changed_student(Run(students / f"fold-{number}"), macs_budget=None)
    with pytest.raises(OptionError, match="its network is not that of"):
        out_of_fold(students, fourth)


def test_folds_that_were_trained_differently_are_refused(folds: Path, tmp_path: Path) -> None:
    write_run(folds / "fold-3", split_with(tmp_path / "data", 2), folds=FOLDS, fold=3, epochs=3)
    with pytest.raises(OptionError, match="fold-3 was trained with --epochs 3"):
        out_of_fold(folds, Run(folds / "fold-1"))


def test_folds_that_do_not_match_the_run_are_refused(folds: Path, tmp_path: Path) -> None:
    split = split_with(tmp_path / "data", 0)
    with pytest.raises(OptionError, match="--image-size 71"):
        out_of_fold(folds, write_run(tmp_path / "run", split, image_size=96))
    smaller = write_run(tmp_path / "smaller", split)
    write_json(smaller.config_file, to_json(replace(smaller.config(), network=XCEPTION.without([7]))))
    with pytest.raises(OptionError, match="its network is not that of"):
        out_of_fold(folds, smaller)
    # Students of folds have networks of their own.
    students = tmp_path / "students"
    for number, share in ((1, 0.5), (2, 0.5), (3, 0.5), (4, 0.25)):
        run = write_run(students / f"fold-{number}", split_with(tmp_path / "data", (number - 1) % FOLDS), folds=FOLDS)
        student = Student(f"/folds/fold-{number}", "", 20, 10, {}, (), macs_budget=share)
        network = XCEPTION.without([number + 5])
        write_json(run.config_file, to_json(replace(run.config(), network=network, student=student)))
    assert len(out_of_fold(students, Run(students / "fold-2")).targets) == 60
    with pytest.raises(OptionError, match="other options of shrink than"):
        out_of_fold(students, Run(students / "fold-4"))
    students_of_a_kind_are_told_apart(students, tmp_path / "data")
    # Where it was logged makes no difference.
    assert len(out_of_fold(folds, write_run(tmp_path / "logged", split, tensorboard=True)).targets) == 60
    with pytest.raises(RunError, match="holds no folds"):
        out_of_fold(tmp_path, Run(folds / "fold-1"))
    Run(folds / "fold-3").model_file.unlink()
    assert folds_beside(Run(folds / "fold-1")) is None
    with pytest.raises(RunError, match="fold-3"):
        out_of_fold(folds, Run(folds / "fold-1"))
