"""A cross-validation's artifacts, judged on all test parts together, and exported with one command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import cxr_edge
from cxr_edge.artifacts.bundle import listed_artifacts, write_manifest
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import Quantization, TrainingData
from cxr_edge.artifacts.metadata import Training
from cxr_edge.data.split import Split, SplitItem, run_split, write_split
from cxr_edge.evaluation.cascade_fit import CascadeFit, fit_cascade
from cxr_edge.evaluation.pooled_parity import PooledCascades, PooledParity
from cxr_edge.exporting.export import Exported, ExportOptions
from cxr_edge.files import sha256_of, write_json
from cxr_edge.records import from_json, to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.train_options import completed
from tests.artifacts import some_metadata
from tests.conftest import ANY_GATE, Cli
from tests.tiny import SIZE, WEIGHTS, write_artifact
from tests.tiny_runs import LABELS, write_int8

FOLDS, IMAGES = 3, 30
#: How much the Keras model of the second fold favours the second class: it disagrees with the artifact on images whose
#: mean grey value is less than 100 times this. There are two of them in its test part.
LEANING = 0.5
DIFFERENT = 2


def write_images(folder: Path) -> list[tuple[str, str]]:
    """Paths and labels of flat images with grey values from 10 to 242, all but the darkest COVID-19's."""
    folder.mkdir()
    images = []
    for index in range(IMAGES):
        Image.fromarray(np.full((SIZE, SIZE), 10 + 8 * index, np.uint8)).save(folder / f"{index}.png")
        images.append((f"{index}.png", LABELS[0]))
    return images


def write_fold(folder: Path, data: Path, images: list[tuple[str, str]], number: int) -> Run:
    """A run whose test part is every third image, with int8 in its bundle and a Keras model of no use."""
    run = Run(folder / f"fold-{number}")
    parts = ["test" if index % FOLDS == number - 1 else ("train", "validation")[index % 2] for index in range(IMAGES)]
    items = tuple(
        SplitItem(path, label, part, "", sha256_of(data / path))
        for (path, label), part in zip(images, parts, strict=True)
    )
    split = Split(data, LABELS, items)
    write_split(split, run.split_file)
    options = completed({"data": str(data), "image_size": SIZE, "folds": FOLDS, "fold": number})
    write_json(run.config_file, to_json(RunConfig("", "", LABELS, {}, split.data_hash(), options)))
    run.model_file.write_bytes(b"the Keras model of fold %d" % number)
    export(run, Gate())
    return run


def export(run: Run, gate: Gate, **changes: Any) -> Exported:
    """Write what an export writes, without its calibration; `changes` are arguments of `write_artifact`."""
    run.bundle.mkdir(exist_ok=True)
    training = Training(TrainingData.IMAGES, {}, "0" * 64, sha256_of(run.model_file), "")
    recorded = some_metadata().parity
    assert recorded is not None
    parity = replace(recorded, result=replace(recorded.result, gate=gate))
    write_int8(run.bundle, training=training, temperature=1.0, parity=parity, **changes)
    return Exported(tuple(listed_artifacts(run.bundle)), ())


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three exported folds. The Keras models compute what the artifacts do, but for the second's leaning."""
    import tensorflow as tf

    def load_classifier(run: Run) -> Callable[..., Any]:
        leaning = np.float32([0, LEANING * (run.folder.name == "fold-2"), 0])
        return lambda batch, training: tf.nn.softmax(tf.reduce_mean(batch, axis=(1, 2)) * WEIGHTS + leaning)

    monkeypatch.setattr("cxr_edge.exporting.verify.load_classifier", load_classifier)
    images = write_images(tmp_path / "data")
    for number in range(1, FOLDS + 1):
        write_fold(tmp_path / "folds", tmp_path / "data", images, number)
    return tmp_path / "folds"


def test_every_image_counts_once_beside_the_model_that_never_saw_it(folds: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli("verify", "--run", folds, *ANY_GATE, "--json", tmp_path / "pooled.json")
    assert result.code == 0, result.err
    pooled = from_json(PooledParity, json.loads((tmp_path / "pooled.json").read_text()))
    assert [artifact.pooled.artifact for artifact in pooled.artifacts] == ["xception-int8.onnx", "xception-int8.tflite"]
    for artifact in pooled.artifacts:
        parity = artifact.pooled.parity
        assert [fold.parity.images for fold in artifact.folds] == [10, 10, 10]
        assert parity.images == IMAGES
        assert parity.agreement == pytest.approx(1 - DIFFERENT / IMAGES)
        # The artifact is right where the second fold's Keras model is not.
        assert (parity.mcnemar.only_reference_right, parity.mcnemar.only_artifact_right) == (0, DIFFERENT)
        assert [fold.parity.agreement for fold in artifact.folds] == [1, 1 - DIFFERENT / 10, 1]
        flips = {row.label: (row.away, row.towards) for row in parity.conditions[0].flips}
        assert flips[LABELS[1]] == (DIFFERENT, 0)
        assert parity.conditions[0].images == IMAGES
        assert {image.image for image in artifact.pooled.flipped} == {"1.png", "4.png"}
        under_shift = [row for row in parity.conditions if row.shift is not None]
        assert {row.images for row in under_shift[:-1]} == {IMAGES}
        assert artifact.folds[1].sha256 == sha256_of(folds / "fold-2" / "bundle" / artifact.pooled.artifact)
    assert "on 30 test images" in result.out


def test_the_demands_are_on_all_folds_together(folds: Path, cli: Cli) -> None:
    missed = cli("verify", "--run", folds, *ANY_GATE[2:], "--min-agreement", "0.95")
    assert missed.code == 3
    assert "agreement 93.3 % (limit 95.0 %)" in missed.err
    # The second fold alone has 80 %.
    assert cli("verify", "--run", folds, *ANY_GATE[2:], "--min-agreement", "0.93").code == 0


def test_artifacts_missing_from_a_fold_are_named_and_incompatible_options_refused(folds: Path, cli: Cli) -> None:
    (folds / "fold-2" / "bundle" / "xception-int8.onnx").unlink()
    result = cli("verify", "--run", folds, *ANY_GATE)
    assert result.code == 0, result.err
    assert "not verified: xception-int8.onnx: only in fold 1, fold 3" in result.out
    for refused in (["--replay"], ["--data", folds]):
        assert "to use others, name a single fold" in " ".join(cli("verify", "--run", folds, *refused).err.split())
    (folds / "fold-3" / "bundle").rename(folds / "fold-3" / "bundle-other")
    assert "no bundle in common" in cli("verify", "--run", folds).err
    assert "fold-3 has no bundle named bundle;" in cli("verify", "--run", folds, "--bundle", "bundle").err
    # One that only some of the folds have, as after an interrupted export, does not count.
    shutil.copytree(folds / "fold-3" / "bundle-other", folds / "fold-3" / "bundle")
    assert cli("verify", "--run", folds, *ANY_GATE).code == 0
    (folds / "fold-3" / "model.h5").unlink()
    assert "fold-3 is not trained yet; finish the cross-validation with" in cli("verify", "--run", folds).err
    assert "name one, such as" in cli("bench", "--run", folds).err


class FakeExporter:
    """In place of minutes of calibration; remembers the folds that it exported."""

    exported: ClassVar[list[str]] = []

    def __init__(self, run: Run, options: ExportOptions, stage: Any) -> None:
        self.run, self.gate = run, options.recipe.parity

    def export(self) -> Exported:
        self.exported.append(self.run.folder.name)
        return replace(export(self.run, self.gate), notes=(f"old.tflite of {self.run.folder.name} is removed",))


def test_a_fold_is_exported_once_with_the_same_options(folds: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.exporting.export_folds.Exporter", FakeExporter)
    monkeypatch.setattr(FakeExporter, "exported", [])
    everything = ["fold-1", "fold-2", "fold-3"]
    first = cli("export", "--run", folds, *ANY_GATE)
    assert (first.code, FakeExporter.exported) == (0, everything), first.err
    assert "Parity with Keras float32 by fold" in first.out
    assert all(f"old.tflite of {fold} is removed" in first.out for fold in everything)
    # Of an interrupted export, the last fold is missing.
    (folds / "fold-3" / "exported.json").unlink()
    again = cli("export", "--run", folds, *ANY_GATE)
    assert FakeExporter.exported == [*everything, "fold-3"]
    assert "fold 2 of 3: exported before with these options" in again.out
    with (folds / "fold-2" / "bundle" / "xception-int8.onnx").open("ab") as file:
        file.write(b" ")
    cli("export", "--run", folds, *ANY_GATE)
    assert FakeExporter.exported[4:] == ["fold-2"]
    pooled = cxr_edge.export(run=folds, qat_steps=5)
    assert isinstance(pooled, PooledParity)
    assert FakeExporter.exported[5:] == everything
    assert "leave it out" in cli("export", "--run", folds, "--folds", folds).err


def another_model(folds: Path, patch: pytest.MonkeyPatch) -> None:
    # Their decision rules are fitted on its predictions.
    Run(folds / "fold-2").model_file.write_bytes(b"trained again")


def another_method(folds: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("cxr_edge.exporting.export_folds.CALIBRATION_METHOD", "another")


@pytest.mark.parametrize("change", [another_model, another_method])
def test_all_folds_are_exported_again_after_a_change(
    folds: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    monkeypatch.setattr("cxr_edge.exporting.export_folds.Exporter", FakeExporter)
    monkeypatch.setattr(FakeExporter, "exported", [])
    assert cli("export", "--run", folds, *ANY_GATE).code == 0
    FakeExporter.exported.clear()
    change(folds, monkeypatch)
    assert cli("export", "--run", folds, *ANY_GATE).code == 0
    assert FakeExporter.exported == ["fold-1", "fold-2", "fold-3"]


def test_folds_of_different_images_are_refused_before_any_is_exported(
    folds: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.exporting.export_folds.Exporter", FakeExporter)
    monkeypatch.setattr(FakeExporter, "exported", [])
    run = Run(folds / "fold-2")
    split = run_split(run)
    write_split(replace(split, items=split.items[1:]), run.split_file)
    result = cli("export", "--run", folds, *ANY_GATE)
    assert (result.code, FakeExporter.exported) == (2, [])
    assert "changed between them" in result.err


def test_folds_that_were_trained_differently_are_refused_before_any_is_exported(
    folds: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.exporting.export_folds.Exporter", FakeExporter)
    monkeypatch.setattr(FakeExporter, "exported", [])
    config = Run(folds / "fold-3").config()
    write_json(Run(folds / "fold-3").config_file, to_json(replace(config, options=replace(config.options, epochs=3))))
    result = cli("export", "--run", folds, *ANY_GATE)
    assert (result.code, FakeExporter.exported) == (2, [])
    assert "--epochs" in result.err


def test_int8_of_some_folds_is_pooled_with_what_has_layers_in_float_in_others(
    folds: Path, cli: Cli, tmp_path: Path
) -> None:
    bundle = folds / "fold-2" / "bundle"
    written = [
        write_artifact(
            bundle / f"xception-mixed.{artifact.format}",
            Quantization.MIXED,
            training=artifact.metadata.training,
            temperature=1.0,
            parity=artifact.parity,
        )
        for artifact in listed_artifacts(bundle)
    ]
    for path in bundle.glob("*int8*"):
        path.unlink()
    write_manifest(bundle, written[0].metadata.shared, written)
    result = cli("verify", "--run", folds, *ANY_GATE, "--json", tmp_path / "pooled.json")
    assert result.code == 0, result.err
    pooled = from_json(PooledParity, json.loads((tmp_path / "pooled.json").read_text()))
    assert [each.pooled.artifact for each in pooled.artifacts] == ["xception-mixed.onnx", "xception-mixed.tflite"]
    for artifact in pooled.artifacts:
        assert artifact.pooled.parity.images == IMAGES
        names = [fold.artifact or artifact.pooled.artifact for fold in artifact.folds]
        assert [name.split(".")[0] for name in names] == ["xception-int8", "xception-mixed", "xception-int8"]
    assert pooled.left_out == ()
    # int8 of all folds is pooled under its name, beside it.
    export(Run(folds / "fold-2"), Gate())
    assert cli("verify", "--run", folds, *ANY_GATE, "--json", tmp_path / "pooled.json").code == 0
    pooled = from_json(PooledParity, json.loads((tmp_path / "pooled.json").read_text()))
    assert [each.pooled.artifact for each in pooled.artifacts] == ["xception-int8.onnx", "xception-int8.tflite"]


#: Of the students: the same classes, with less confidence.
UNSURE = np.float32(0.5) * WEIGHTS


def cascading(folds: Path, *options: object) -> tuple[object, ...]:
    return ("cascade", "--small", folds.parent / "students", "--full", folds, "--min-agreement", 0.5, *options)


@pytest.fixture
def students(folds: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Smaller models with the same classes, both exported with reference inputs."""
    from cxr_edge.exporting import verify

    monkeypatch.setattr("cxr_edge.exporting.cascade.load_classifier", verify.load_classifier)
    copied = Path(shutil.copytree(folds, folds.parent / "students"))
    for folder, weights in ((folds, WEIGHTS), (copied, UNSURE)):
        for run in (Run(folder / f"fold-{number}") for number in range(1, FOLDS + 1)):
            export(run, Gate(), references_in=run.bundle, operating_point=None, weights=weights)
    return copied


def test_the_cascades_of_all_folds_are_judged_together(
    folds: Path, students: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--min-shifted-agreement", 0.1, "--json", tmp_path / "pooled.json")
    result = cli(*cascading(folds, *options))
    assert (result.code, "cascade-int8.tflite: agreement 93.3 %" in result.err) == (3, True), result.err
    record = from_json(PooledCascades, json.loads((tmp_path / "pooled.json").read_text()))
    assert [fit.test.images for fit in record.fits] == [IMAGES // FOLDS] * FOLDS
    pooled = record.parity
    assert [artifact.pooled.artifact for artifact in pooled.artifacts] == ["cascade-int8.tflite"]
    assert pooled.artifacts[0].pooled.parity.agreement == pytest.approx(1 - DIFFERENT / IMAGES)
    bundles = [folds / f"fold-{number}" / "bundle-cascade" for number in range(1, FOLDS + 1)]
    cascades = [artifact for path in bundles for artifact in listed_artifacts(path) if isinstance(artifact, Cascade)]
    assert [fold.sha256 for fold in pooled.artifacts[0].folds] == [cascade.sha256 for cascade in cascades]
    for number, cascade in enumerate(cascades, start=1):
        places = (students, cascade.small), (folds, cascade.full)
        for folder, member in places:
            assert member.sha256 == sha256_of(folder / f"fold-{number}" / "bundle" / "xception-int8.tflite")
    (row,) = (line.split() for line in result.out.splitlines() if line.split()[:2] == ["all", "-"])
    # Images; the share passed on; the same class, as the small models are the full ones.
    assert (row[2], row[4]) == (str(IMAGES), "100.0")
    assert "accuracy on test images less the full model's: +0.0 points" in " ".join(result.out.split())
    assert record.accuracy_less_full is not None
    assert record.accuracy_less_full.value == 0

    written = [(path / "manifest.json").stat().st_mtime_ns for path in bundles]
    shutil.rmtree(bundles[1])
    assert cli(*cascading(folds, *options)).code == result.code
    kept = [(path / "manifest.json").stat().st_mtime_ns == time for path, time in zip(bundles, written, strict=True)]
    assert kept == [True, False, True]
    assert cli("verify", "--run", folds, *ANY_GATE, "--bundle", "bundle").code == 0
    stricter = cli(*cascading(folds, "--min-shifted-agreement", 0.2))
    assert (stricter.code, "with other demands" in stricter.err) == (2, True)
    assert all(str(path) in stricter.err for path in bundles)
    export(Run(students / "fold-2"), Gate(), references_in=students / "fold-2/bundle", operating_point=None)
    changed = cli(*cascading(folds, *options))
    assert (changed.code, str(bundles[1]) in changed.err, str(bundles[0]) in changed.err) == (2, True, False)
    beside = cli(*cascading(folds, "--output", tmp_path / "beside"))
    assert (beside.code, "written into the folds" in beside.err) == (2, True)
    shutil.rmtree(bundles[0])

    def exported_meanwhile(*arguments: Any) -> CascadeFit:
        with (students / "fold-1/bundle/xception-int8.tflite").open("ab") as file:
            file.write(b" ")
        return fit_cascade(*arguments)

    monkeypatch.setattr("cxr_edge.exporting.cascade.fit_cascade", exported_meanwhile)
    names = students / "fold-1", folds / "fold-1"
    raced = cli("cascade", "--small", names[0], "--full", names[1], *options[:2], "--min-agreement", 0.5)
    assert (raced.code, "was exported again meanwhile" in raced.err, bundles[0].exists()) == (2, True, False), raced.err
    single = cli("cascade", "--small", students / "fold-1", "--full", folds)
    assert (single.code, "name two of a kind" in single.err) == (2, True)
