"""Incomplete bundles, standalone files, and the command that makes a smaller bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge import ArtifactError, Classifier
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.evaluation import reference_images, replay
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.runtimes.base import Runtime
from tests.conftest import Cli
from tests.tiny import write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "folder", references=True)


@pytest.fixture
def alone(folder: Path, tmp_path: Path) -> Path:
    """A file that lies by itself, without its reference inputs."""
    (tmp_path / "elsewhere").mkdir()
    return Path(shutil.copy(folder / "xception-int8.onnx", tmp_path / "elsewhere"))


def test_a_standalone_file_is_verified(alone: Path, cli: Cli, tmp_path: Path) -> None:
    assert Classifier.open(alone, "onnx", 1).verify().verdict == "passed"
    result = cli("verify", "--artifact", alone, "--json", tmp_path / "x.json")
    assert result.code == 0, result.err
    assert "only single files were named" in result.out
    rows = json.loads((tmp_path / "x.json").read_text())
    assert {(row["artifact"], row["images"], row["verdict"]) for row in rows} == {("xception-int8.onnx", 45, "passed")}
    assert cli("verify", "--artifact", alone, "--bundle", tmp_path).code == 2
    assert cli("verify", "--artifact", alone, "--min-agreement", "0.9").code == 2


def test_a_standalone_file_that_computes_something_else_fails(
    folder: Path, alone: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = replay.compared_with_recorded

    def off(artifact: Artifact, answers: np.ndarray, runtime: str) -> replay.ReplayResult:
        return right(artifact, answers[:, ::-1], runtime)

    monkeypatch.setattr(replay, "compared_with_recorded", off)
    assert cli("verify", "--artifact", alone, "--runtime", "onnx").code == 3
    # Where phantoms are drawn otherwise, wrong inputs look like wrong answers.
    monkeypatch.setattr(reference_images, "packed", lambda images: b"other")
    result = cli("verify", "--artifact", alone, "--runtime", "onnx")
    assert result.code == 2
    assert "copy reference.npz" in result.err
    shutil.copy(folder / "reference.npz", alone.parent)
    assert cli("verify", "--artifact", alone, "--runtime", "onnx").code == 3


def test_reference_inputs_of_another_export_are_refused(alone: Path) -> None:
    (alone.parent / "reference.npz").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="SHA-256"):
        Classifier.open(alone, "onnx", 1).verify()


def test_a_standalone_file_is_measured(alone: Path, cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(draw_phantom("Normal", 1, 80).pixels).save(tmp_path / "x.png")
    output = tmp_path / "x.json"
    arguments = ("--artifact", alone, "--runtime", "onnx", "--quick", "--images", tmp_path / "x.png")
    result = cli("bench", *arguments, "--json", output)
    assert result.code == 0, result.err
    assert [row["artifact"] for row in json.loads(output.read_text())["rows"]] == ["xception-int8.onnx"]


def test_the_remaining_files_of_an_incomplete_bundle_are_verified(folder: Path, cli: Cli) -> None:
    for name in ("xception-float32.tflite", "xception-fp16.onnx"):
        (folder / name).unlink()
    result = cli("verify", "--bundle", folder)
    assert result.code == 0, result.err
    assert "not verified: xception-float32.tflite: is missing" in result.out
    assert "float32.onnx" in result.out


def test_a_device_with_one_runtime_verifies_the_formats_it_reads(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "installed", lambda self: self.name == "litert")
    result = cli("verify", "--bundle", folder)
    assert result.code == 0, result.err
    assert "not verified: xception-int8.onnx: a runtime for .onnx files" in result.out
    assert "int8.tflite" in result.out
    for path in folder.glob("*.tflite"):
        path.unlink()
    result = cli("verify", "--bundle", folder)
    assert result.code == 2
    assert "cxr-edge[onnx]" in result.err


def test_a_missing_bundle_is_reported_first(cli: Cli, tmp_path: Path) -> None:
    result = cli("verify", "--bundle", tmp_path / "nope")
    assert (result.code, result.out) == (2, "")
    assert "nope: not a bundle" in result.err


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["int8.tflite"], {"xception-int8.tflite"}),
        (["xception-fp16.onnx"], {"xception-fp16.onnx"}),
        (["int8"], {"xception-int8.tflite", "xception-int8.onnx"}),
        (
            ["tflite", "int8"],
            {f"xception-{kind}.tflite" for kind in ("int8", "fp16", "float32")} | {"xception-int8.onnx"},
        ),
    ],
)
def test_a_part_of_a_bundle_is_a_bundle(
    folder: Path, cli: Cli, tmp_path: Path, names: list[str], files: set[str]
) -> None:
    part = tmp_path / "parts" / "small"
    options = [option for name in names for option in ("--only", name)]
    result = cli("bundle", "--bundle", folder, *options, "--output", part)
    assert result.code == 0, result.err
    assert {artifact.name for artifact in read_bundle(part)} == files
    assert {path.name for path in part.iterdir()} == {*files, "manifest.json", "reference.npz", "MODEL_CARD.md"}
    assert [path.name for path in part.parent.iterdir()] == ["small"]
    assert cli("verify", "--bundle", part).code == 0
    again = cli("bundle", "--bundle", folder, *options, "--output", part)
    assert again.code == 2
    assert "already exists" in again.err


def test_a_missing_part_is_refused_with_the_available_ones(folder: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli("bundle", "--bundle", folder, "--only", "int4", "--output", tmp_path / "small")
    assert result.code == 2
    assert "--only int4" in result.err and "xception-int8.tflite" in result.err
    assert not (tmp_path / "small").exists()


@pytest.mark.slow
def test_every_command_names_a_file_in_the_same_way(alone: Path, folder: Path, cli: Cli, tmp_path: Path) -> None:
    for label, index in (("COVID-19", 1), ("Normal", 2)):
        (tmp_path / "data" / label).mkdir(parents=True)
        pixels = draw_phantom(label, index, 80).pixels
        Image.fromarray(pixels).save(tmp_path / "data" / label / "x.png")
    picture = tmp_path / "data" / "Normal" / "x.png"
    for command in (("predict", picture), ("evaluate", "--data", tmp_path / "data")):
        assert cli(*command, "--artifact", alone).code == 0
        assert cli(*command, "--bundle", folder).code == 0
        both = cli(*command, "--artifact", alone, "--bundle", folder)
        assert both.code == 2
        assert "--artifact names a file by itself" in both.err
