"""The device half: no TensorFlow, nothing but a bundle and a runtime."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxr_edge.artifacts.artifact import METADATA_KEY, read_artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest, write_manifest
from cxr_edge.imaging.rule import RULE, rule_of
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import Runtime
from tests.conftest import ANY_GATE, Cli, assert_same_answers
from tests.tiny import write_bundle

BLOCKED = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization", "tf2onnx", "onnx",
                                  "matplotlib", "sklearn", "scipy", "pandas"}:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
"""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    Image.fromarray(draw_phantom("Viral Pneumonia", 77, 300).pixels).save(tmp_path / "röntgen bild.png")
    return tmp_path / "röntgen bild.png"


@pytest.fixture
def tiny_device(tmp_path: Path) -> Path:
    """A bundle as a device gets it, of artifacts that are quick to measure."""
    return write_bundle(tmp_path / "tiny", references=True)


def without_tensorflow(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    code = BLOCKED + f"from cxr_edge.cli import main\nsys.argv = ['cxr-edge', *{command!r}]\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize(
    "command",
    [["predict", "PICTURE"], ["inspect", "xception-int8.tflite"], ["inspect", "xception-int8.onnx"]],
)
def test_artifacts_are_used_without_tensorflow(bundle: Path, picture: Path, command: list[str]) -> None:
    result = without_tensorflow([str(picture) if word == "PICTURE" else word for word in command], bundle)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["bench", "--quick", "--images", "."], ["devices"], ["verify"]])
def test_device_commands_run_without_tensorflow(tiny_device: Path, picture: Path, command: list[str]) -> None:
    shutil.copy(picture, tiny_device)
    result = without_tensorflow(command, tiny_device)
    assert result.returncode == 0, result.stderr


def test_predict_answers_alike_on_both_formats(device: Path, picture: Path, cli: Cli, tmp_path: Path) -> None:
    rows = []
    for name, runtime in (("xception-int8.tflite", "litert"), ("xception-int8.onnx", "onnx")):
        output = tmp_path / "x.json"
        result = cli("predict", picture, "--artifact", device / name, "--runtime", runtime, "--json", output)
        assert result.code == 0
        assert "Not a medical device" in result.out
        (row,) = json.loads(output.read_text())["rows"]
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        rows.append(row)
    assert rows[0]["label"] == rows[1]["label"]
    assert_same_answers(device, *(np.float32([row["probabilities"]]) for row in rows))


def test_predict_stops_at_a_bad_image_if_requested(tiny: Path, picture: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    result = cli("predict", tmp_path / "text.png", picture, "--bundle", tiny, "--on-bad-image", "fail")
    assert result.code == 2
    assert "text.png" in result.err
    assert result.out == ""


def test_predict_resizes_as_the_artifact_was_trained(device: Path, cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    low = draw_phantom("Normal", 4, 71).pixels[18:53]
    Image.fromarray(low).save(tmp_path / "low.png")
    Image.fromarray(np.pad(low, ((18, 18), (0, 0)))).save(tmp_path / "padded.png")
    stretching, padding = device / "xception-float32.onnx", tmp_path / "x.onnx"
    model = onnx.load(stretching)
    (entry,) = [prop for prop in model.metadata_props if prop.key == METADATA_KEY]
    metadata = json.loads(entry.value)
    assert metadata["imaging"] == to_json(RULE)
    entry.value = json.dumps({**metadata, "imaging": to_json(rule_of("pad"))})
    onnx.save(model, padding)

    def probabilities(picture: str, artifact: Path) -> list[float]:
        result = cli(
            "predict", tmp_path / picture, "--artifact", artifact, "--runtime", "onnx", "--json", tmp_path / "x.json"
        )
        assert result.code == 0
        assert "another imaging rule" not in result.out
        answer: list[float] = json.loads((tmp_path / "x.json").read_text())["rows"][0]["probabilities"]
        return answer

    assert probabilities("low.png", padding) == probabilities("padded.png", stretching)
    assert probabilities("low.png", padding) != probabilities("low.png", stretching)


def test_predict_reads_dicom_and_says_what_its_tags_warn_of(device: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from PIL import Image

    from tests.test_dicom import written

    pixels = draw_phantom("Viral Pneumonia", 77, 300).pixels
    Image.fromarray(pixels).save(tmp_path / "x.png")
    tags = {"ViewPosition": "LL", "BurnedInAnnotation": "YES", "Modality": "DX"}
    path = written(tmp_path / "IM0001", pixels, 8, **tags)
    result = cli("predict", path, tmp_path / "x.png", "--bundle", device, "--json", tmp_path / "x.json")
    assert result.code == 0
    assert result.out.count(f"warning: {path}") == 2
    of_dicom, of_png = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert of_dicom["probabilities"] == of_png["probabilities"]
    assert of_dicom["dicom"]["view_position"] == "LL"
    # Those of the model, which knows phantoms only, are said of both.
    assert len(of_dicom["warnings"]) == len(of_png["warnings"]) + 2
    assert all("xception-" in warning for warning in of_png["warnings"])


def test_an_older_artifact_warns_about_files_now_read_differently(device: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import SECOND_RULE, grouped, window_item, written

    pixels = draw_phantom("Normal", 5, 300).pixels
    for label in ("Normal", "COVID-19"):
        (tmp_path / "data" / label).mkdir(parents=True)
    plain = written(tmp_path / "data/Normal/IM0001", pixels, 8)
    windowed = written(tmp_path / "data/COVID-19/IM0002", pixels, 8, **grouped(window_item(100, 200)))
    older, model = tmp_path / "older.onnx", onnx.load(device / "xception-float32.onnx")
    (entry,) = [prop for prop in model.metadata_props if prop.key == METADATA_KEY]
    metadata = {name: value for name, value in json.loads(entry.value).items() if name != "schema"}
    entry.value = json.dumps({**metadata, "imaging": SECOND_RULE})
    onnx.save(model, older)
    for artifact, windowed_files in ((older, [windowed]), (device / "xception-float32.onnx", [])):
        result = cli("predict", plain, windowed, "--artifact", artifact, "--runtime", "onnx")
        assert result.code == 0, result.err
        assert [path for path in (plain, windowed) if f"{path}: read by the window" in result.out] == windowed_files
        result = cli("evaluate", "--artifact", artifact, "--data", tmp_path / "data")
        assert result.code == 0, result.err
        assert (f"1 of 2 images, such as {windowed}" in result.out) == bool(windowed_files)
        assert "another imaging rule" not in result.out


def test_evaluate_an_artifact_on_a_folder(run: Run, device: Path, cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "x.json"
    artifact = device / "xception-int8.onnx"
    assert cli("evaluate", "--artifact", artifact, "--data", run.folder / "phantoms", "--json", output).code == 0
    record = json.loads(output.read_text())
    assert record["images"] == 540
    assert record["accuracy"] >= 0.9


@pytest.mark.slow
def test_bench_times_files_from_disk(tiny: Path, picture: Path, cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    arguments = ["--runtime", "onnx", "--quick", "--images", picture.parent]
    assert cli("bench", "--bundle", tiny, *arguments, "--json", output).code == 0
    record = json.loads(output.read_text())
    assert record["images"] == {"source": "files", "count": 1}
    assert [row["file"] for row in record["from_files"]["by_file"]] == [picture.name]
    assert {row["runtime"] for row in record["rows"]} == {"ONNX Runtime"}


def test_a_runtime_that_is_not_installed_names_its_extra(tiny: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "installed", lambda self: self.name == "litert")
    result = cli("bench", "--bundle", tiny, "--runtime", "onnx")
    assert result.code == 2
    assert "cxr-edge[onnx]" in result.err
    result = cli("predict", "x.png", "--artifact", tiny / "xception-int8.onnx")
    assert result.code == 2
    assert "cxr-edge[onnx]" in result.err
    assert cli("bench", "--bundle", tiny, "--runtime", "tensorrt").code == 2


@pytest.mark.slow
def test_keras_is_never_left_out_silently(tiny: Path, picture: Path, cli: Cli) -> None:
    quick = ("bench", "--bundle", tiny, "--quick", "--images", picture)
    assert "Keras is not in the table" not in cli(*quick, "--runtime", "litert").out
    result = cli(*quick)
    assert result.code == 0
    assert "Keras is not in the table" in result.out
    assert cli("bench", "--bundle", tiny, "--runtime", "keras").code == 2


def spoil(path: Path) -> None:
    """Make an ONNX classifier always say its first class."""
    model = onnx.load(path)
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.shape == (3,) and values.dtype == np.float32:
            initializer.CopyFrom(numpy_helper.from_array(np.float32([100, 0, 0]), initializer.name))
    onnx.save(model, path)


def test_verify_passes_and_fails_by_its_exit_status(
    small_run: Run, small_bundle: Path, cli: Cli, tmp_path: Path
) -> None:
    output = tmp_path / "x.json"
    few = ("--train-images", 30, "--shift-images", 6)
    copy = Run(Path(shutil.copytree(small_run.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("quantized"))))
    path = copy.bundle / "xception-float32.onnx"
    others = [
        read_artifact(copy.bundle / f"xception-{name}") for name in ("float32.tflite", "int8.tflite", "int8.onnx")
    ]
    shared = read_manifest(copy.bundle).shared
    write_manifest(copy.bundle, shared, [*others, read_artifact(path)])
    assert cli("verify", "--run", copy.folder, *ANY_GATE, *few, "--json", output).code == 0
    assert len(json.loads(output.read_text())) == 4

    spoil(path)
    write_manifest(copy.bundle, shared, [*others, read_artifact(path)])
    result = cli("verify", "--run", copy.folder, *ANY_GATE, *few)
    assert result.code == 3
    verdict = result.err.splitlines()[-1]
    assert path.name in verdict
    assert "xception-float32.tflite" not in verdict


def test_replay_passes_where_nothing_changed(device: Path, cli: Cli, tmp_path: Path) -> None:
    result = cli(
        "verify", "--bundle", device, "--runtime", "litert", "--runtime", "onnx", "--json", tmp_path / "x.json"
    )
    assert result.code == 0, result.err
    assert "outside its run folder" in result.out
    rows = json.loads((tmp_path / "x.json").read_text())
    assert {row["artifact"] for row in rows} == {artifact.name for artifact in read_bundle(device)}
    for row in rows:
        assert row["verdict"] == "passed"
        assert row["same_top"] == row["images"] == 45
        assert row["agreement"] == 1
        assert row["signal_to_noise_db"] > 80
        # The very runtime that it was recorded on, on this very machine.
        assert row["largest_difference"] < 1e-5


def test_replay_fails_where_something_else_is_computed(device: Path, cli: Cli) -> None:
    path = device / "xception-float32.onnx"
    recorded = {artifact.name: artifact for artifact in read_bundle(device)}
    spoil(path)
    recorded[path.name] = read_artifact(path)
    write_manifest(device, read_manifest(device).shared, list(recorded.values()))
    result = cli("verify", "--bundle", device, "--runtime", "onnx")
    assert result.code == 3
    assert "xception-float32.onnx on ONNX Runtime" in result.err
    assert "int8" not in result.err.splitlines()[-1]


def test_replay_needs_the_reference_inputs_as_they_were(tiny_device: Path, cli: Cli) -> None:
    path = tiny_device / "reference.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = cli("verify", "--bundle", tiny_device)
    assert result.code == 2
    assert "SHA-256" in result.err
    # Without them they are drawn again.
    path.unlink()
    assert cli("verify", "--bundle", tiny_device).code == 0
    assert cli("verify", "--bundle", tiny_device, "--min-agreement", "0.9").code == 2
