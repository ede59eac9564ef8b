"""The public API: what it exports, what it costs to import, and what it answers."""

from __future__ import annotations

import ast
import csv
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import cxr_edge
from cxr_edge import ArtifactError, Classifier, ImageError, OptionError, Prediction, SkippedImage, open_bundle
from cxr_edge.artifacts.bundle import write_manifest
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.metadata import ReferenceOutputs
from cxr_edge.cli.commands import command_named
from cxr_edge.evaluation.reference_images import packed, reference_images
from cxr_edge.files import sha256_of
from cxr_edge.imaging.decode import load_image
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.prediction.evaluate import evaluate
from cxr_edge.prediction.prediction import PredictionBatch
from cxr_edge.records import to_json
from tests.artifacts import old_record
from tests.conftest import Cli
from tests.tiny import SIZE, expected, resealed, write_artifact, write_bundle, write_bundle_with_references

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "ArtifactError", "Classifier", "CxrEdgeError", "DataError", "GateError", "ImageError", "MissingDependencyError",
    "NOTICE", "OptionError", "Prediction", "ProviderError", "SkippedImage", "__version__", "audit", "cascade", "export",
    "open_bundle", "shrink", "train", "verify",
}  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Grey files: dark, less dark and bright."""
    paths = []
    ramp = np.tile(np.arange(80, dtype=np.uint8), (80, 1))
    for index, darkest in enumerate((0, 80, 170)):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(ramp + np.uint8(darkest)).save(paths[-1])
    return paths


@pytest.fixture
def classifier(tiny: Path) -> Classifier:
    return Classifier.open(tiny / "xception-float32.onnx", "onnx", 1)


def forged(tiny: Path, folder: Path, logits_as: str) -> Path:
    """A copy of an artifact whose last step, softmax, is another operator."""
    model = onnx.load(tiny / "xception-float32.onnx")
    softmax = model.graph.node[-1]
    softmax.op_type = logits_as
    del softmax.attribute[:]
    onnx.save(model, folder / "forged.onnx")
    return folder / "forged.onnx"


@pytest.mark.parametrize("operator", ["Identity", "Log"])
def test_outputs_that_are_not_probabilities_are_refused(
    tiny: Path, tmp_path: Path, cli: Cli, pictures: list[Path], operator: str
) -> None:
    artifact = forged(tiny, tmp_path, operator)
    classifier = Classifier.open(artifact, "onnx", 1)
    for image in pictures:
        with pytest.raises(ArtifactError, match="not probabilities"):
            classifier.predict(image)
    result = cli("predict", *pictures, "--artifact", artifact, "--runtime", "onnx")
    assert result.code == 2
    assert "forged.onnx" in result.err
    assert "Traceback" not in result.err


def test_the_exported_names_are_these_and_no_others() -> None:
    assert set(cxr_edge.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(cxr_edge, name) is not None
    assert set(dir(cxr_edge)) >= PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        cxr_edge.classify  # noqa: B018


def test_every_public_error_is_documented() -> None:
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    errors = [name for name in PUBLIC if name.endswith("Error")]
    assert [name for name in errors if f"`{name}`" not in text] == []


def test_importing_the_package_imports_only_the_standard_library() -> None:
    # A module that is None is one that cannot be imported any more: telemetry.
    code = "import sys; before = set(sys.modules); import cxr_edge; "
    code += "print(*(name for name, module in sys.modules.items() if module and name not in before))"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in completed.stdout.split()} <= {"cxr_edge", *sys.stdlib_module_names}
    assert "cxr_edge.prediction" not in completed.stdout


def test_importing_the_classifier_takes_little_longer_than_numpy_and_pillow() -> None:
    """In CPU time, so that other work on the machine does not count. TensorFlow alone takes twenty times as long."""

    def seconds(imports: str) -> float:
        code = f"from time import process_time as t; t0 = t(); {imports}; print(t() - t0)"
        results = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
        return min(float(result.stdout) for result in results)

    assert seconds("from cxr_edge import Classifier") < 2.5 * seconds("import numpy, PIL.Image")


@pytest.mark.slow
def test_public_functions_are_not_shadowed_by_packages_of_the_same_name() -> None:
    code = (
        "import cxr_edge, cxr_edge.auditing.audit, cxr_edge.exporting, cxr_edge.training\n"
        "from cxr_edge import audit, export, train, verify\n"
        "assert all(map(callable, (audit, export, train, verify, cxr_edge.audit)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_classifier_does_not_import_tensorflow(tiny: Path, pictures: list[Path]) -> None:
    code = (
        "import sys\nfrom cxr_edge import Classifier\n"
        f"Classifier.open({str(tiny)!r}, 'onnx').predict({str(pictures[0])!r})\n"
        "assert not {'tensorflow', 'scipy', 'matplotlib', 'typer'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("runtime", ["litert", "onnx", "auto"])
def test_files_and_arrays_get_the_same_answers(tiny: Path, pictures: list[Path], runtime: str) -> None:
    classifier = Classifier.open(tiny, runtime, threads=1)
    arrays = np.stack([np.asarray(Image.open(path)) for path in pictures])
    of_files, of_arrays = classifier.predict(pictures), classifier.predict(arrays[..., None])
    probabilities = expected(np.stack([load_image(path, SIZE) for path in pictures])[..., None])
    assert np.allclose([prediction.probabilities for prediction in of_files], probabilities, atol=1e-4)
    assert [prediction.probabilities for prediction in of_files] == [answer.probabilities for answer in of_arrays]
    assert [prediction.file for prediction in of_files] == [str(path) for path in pictures]
    assert {prediction.file for prediction in of_arrays} == {None}
    assert of_files[2].label == classifier.labels[0]
    assert classifier.predict(pictures[2]) == of_files[2:]
    assert classifier.predict(arrays[2]) == of_arrays[2:]
    assert classifier.contract.image_size == SIZE


@pytest.mark.parametrize("array", [np.zeros((80, 80, 3), np.uint8), np.zeros((80, 80)), np.zeros((0, 4), np.uint8)])
def test_an_array_of_anything_but_grey_values_is_refused(classifier: Classifier, array: Any) -> None:
    with pytest.raises(ImageError, match=r"uint8 \[H, W\]"):
        classifier.predict([array])


def test_a_stream_skips_a_bad_image_for_which_predict_raises(classifier: Classifier, pictures: list[Path]) -> None:
    bad = pictures[0].with_name("bad.png")
    bad.write_text("no image")
    first, second, third = classifier.stream([pictures[0], bad, pictures[2]])
    assert isinstance(first, Prediction) and isinstance(third, Prediction)
    assert isinstance(second, SkippedImage) and "bad.png" in second.reason
    with pytest.raises(ImageError, match=r"bad\.png"):
        classifier.predict([pictures[0], bad])


def test_open_refuses_what_cannot_work(tiny: Path) -> None:
    with pytest.raises(OptionError, match="does not read"):
        Classifier.open(tiny / "xception-int8.tflite", "onnx")
    for missing in ("nowhere", "nowhere.onnx"):
        with pytest.raises(cxr_edge.ArtifactError, match="nowhere"):
            Classifier.open(tiny / missing)


def test_a_heat_map_is_refused_if_the_artifact_has_none(classifier: Classifier, pictures: list[Path]) -> None:
    with pytest.raises(OptionError, match="--no-heatmap"):
        classifier.predict(pictures, heatmap=True)


def test_verify_replays_what_was_recorded(tmp_path: Path, pictures: list[Path]) -> None:
    artifact = write_artifact(tmp_path / "xception-float32.onnx", Quantization.FLOAT32)
    images = reference_images(SIZE)
    right = tuple(map(tuple, expected(images).reshape(len(images), 3).tolist()))
    wrong = (right[0][::-1], *right[1:])
    for outputs, verdict in ((right, "passed"), (wrong, "failed")):
        (tmp_path / "reference.npz").write_bytes(packed(images))
        shared = replace(artifact.metadata.shared, reference_sha256=sha256_of(tmp_path / "reference.npz"))
        references = ReferenceOutputs("ONNX Runtime", outputs, right)
        metadata = replace(artifact.metadata, reference_outputs=references, reference_sha256=shared.reference_sha256)
        write_manifest(tmp_path, shared, [resealed(artifact, metadata)])
        result = Classifier.open(tmp_path, "onnx", 1).verify()
        assert (result.verdict, result.images) == (verdict, len(images))
    with pytest.raises(cxr_edge.ArtifactError):
        Classifier.open(write_bundle(tmp_path / "other"), "onnx", 1).verify()


def test_open_bundle_lists_what_is_there(tiny: Path) -> None:
    assert {artifact.name for artifact in open_bundle(str(tiny)).artifacts} == {
        f"xception-{quantization}.{kind}" for quantization in ("float32", "fp16", "int8") for kind in ("tflite", "onnx")
    }


def _options(command: str) -> set[str]:
    parameters = command_named(command).params
    return {max(parameter.opts, key=len).lstrip("-").replace("-", "_") for parameter in parameters} - {"help"}


@pytest.mark.parametrize(
    ("command", "cli_only", "python_only"),
    [
        ("train", {"json", "config", "like"}, {"progress"}),
        ("shrink", {"json"}, {"progress"}),
        ("export", {"json", "config", "explain_int8", "data"}, {"stage"}),
        ("cascade", {"json"}, {"stage"}),
        ("verify", {"json", "require_signature"}, {"stage"}),
        ("audit", {"json", "html", "with_images", "strict"}, {"stage", "on_image"}),
    ],
)
def test_a_function_has_the_options_of_its_command(command: str, cli_only: set[str], python_only: set[str]) -> None:
    function: Callable[..., Any] = getattr(cxr_edge, command)
    assert set(inspect.signature(function).parameters) - python_only == _options(command) - cli_only


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 2}, "threads need replay"),
        ({"run": "FOLDS", "threads": 3}, "threads need replay"),
        ({"run": "FOLDS", "train_images": 5}, "holds folds"),
        ({"replay": True, "train_images": 5}, "leave them out of a replay"),
        ({"replay": True, "shift_images": 5}, "leave them out of a replay"),
        ({"train_images": 0}, "train_images 0: must be at least 1"),
        ({"shift_images": -1}, "shift_images -1: must be at least 1"),
    ],
)
def test_verify_refuses_options_that_its_command_refuses(
    tiny: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "fold-1").mkdir()
    (tmp_path / "fold-1" / "run.json").write_text("{}")
    where = {"run": tmp_path} if "run" in options else {"bundle": tiny}
    with pytest.raises(OptionError, match=message):
        cxr_edge.verify(**{**options, **where})


def test_the_examples_in_the_documentation_run(
    tiny: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundle").symlink_to(tiny)
    Path("a.png").symlink_to(pictures[0])
    Path("b.png").symlink_to(pictures[2])
    Path("broken.png").write_text("no image")
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, names)
    out = capfd.readouterr().out
    for line in ("a.png", "COVID-19: ", "warning: ", "phantoms", "skipped: broken.png", "xception-int8.onnx int8"):
        assert line in out


def test_each_answer_says_that_the_model_was_trained_on_phantoms(
    tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path
) -> None:
    output, artifact = tmp_path / "x.json", tiny / "xception-float32.onnx"
    result = cli("predict", *pictures, "--artifact", artifact, "--runtime", "onnx", "--json", output)
    assert result.code == 0, result.err
    assert "trained on phantoms" in result.out.splitlines()[0]
    assert "warning: xception-float32.onnx: was trained on phantoms" in result.out
    record = json.loads(output.read_text())
    assert "phantoms" in record["warning"]
    assert record["trained_on"] == "phantoms"
    assert all("phantoms" in row["warnings"][0] for row in record["rows"])
    data = tmp_path / "data"
    for label, path in zip(("COVID-19", "Viral Pneumonia", "Normal"), pictures, strict=True):
        (data / label).mkdir(parents=True)
        path.rename(data / label / path.name)
    evaluation = evaluate(artifact, data, None)
    assert "phantoms" in evaluation.warnings[0]
    assert evaluation.data == "images"
    result = cli("evaluate", "--artifact", artifact, "--data", data, "--json", output)
    assert "warning: xception-float32.onnx: was trained on phantoms" in result.out
    assert json.loads(output.read_text()) == json.loads(json.dumps(to_json(evaluation)))


def test_records_keep_the_keys_that_older_ones_had(tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "x.json"
    assert cli("predict", *pictures, "--bundle", tiny, "--json", output).code == 0
    record, old = json.loads(output.read_text()), old_record("predict.json")
    assert record.keys() >= old.keys() - {"chosen"} | {"selection_note"}
    assert record["rows"][0].keys() >= old["rows"][0].keys() - {"overlay", "heatmap"}
    again = PredictionBatch.from_json(record)
    assert json.loads(json.dumps(to_json(again))) == record
    second = {**record, "schema": 2, "chosen": "the fastest"}
    del second["selection_note"]
    assert PredictionBatch.from_json(second).answering.selection_note == "the fastest"
    older = PredictionBatch.from_json(old)
    assert (older.answering.warnings, older.predictions[0].decision) == ((), "Normal")
    heatmap = older.predictions[0].heatmap
    assert heatmap is not None and heatmap.shape == (3, 3, 3)


def test_a_bad_image_does_not_affect_the_others_in_a_folder(
    tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path
) -> None:
    inner = tmp_path / "films" / "inner"
    inner.mkdir(parents=True)
    for path in pictures:
        path.rename(inner / path.name)
    (inner / "1a.png").write_text("no image")
    output, table = tmp_path / "x.json", tmp_path / "x.csv"
    arguments = ("predict", inner.parent, "--bundle", tiny, "--runtime", "onnx", "--json", output, "--csv", table)
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert "1 of 4 images have no answer" in result.out
    record = json.loads(output.read_text())
    assert [Path(row["file"]).name for row in record["rows"]] == [path.name for path in pictures]
    assert [Path(skipped["path"]).name for skipped in record["skipped"]] == ["1a.png"]
    lines = list(csv.DictReader(table.open()))
    assert [Path(line["file"]).name for line in lines] == ["0.png", "1.png", "1a.png", "2.png"]
    for line, row in zip([lines[0], lines[1], lines[3]], record["rows"], strict=True):
        assert [float(line[label]) for label in record["labels"]] == row["probabilities"]
        assert (line["label"], line["decision"]) == (row["label"], row["decision"])
    assert "1a.png" in lines[2]["error"]
    # What came before the bad one stays.
    stopped = cli(*arguments, "--on-bad-image", "fail")
    assert stopped.code == 2
    assert "1a.png" in stopped.err
    assert [Path(line["file"]).name for line in csv.DictReader(table.open())] == ["0.png", "1.png"]


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_predict_writes_no_table_and_no_json_over_an_image(
    tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path, option: str
) -> None:
    first, *others = pictures
    without_suffix, dicom = tmp_path / "film", tmp_path / "slice"
    without_suffix.write_bytes(first.read_bytes())
    dicom.write_bytes(bytes(128) + b"DICM")
    # As the shell expands `--csv *.png`: the image that would be lost is not among the images.
    for target, images in ((first, others), (first, pictures), (dicom, others), (without_suffix, [without_suffix])):
        before = target.read_bytes()
        result = cli("predict", *images, "--bundle", tiny, "--runtime", "onnx", option, target)
        assert (result.code, target.read_bytes()) == (2, before)
        assert "would overwrite an image" in result.err


def test_predict_writes_its_table_and_its_json_to_two_files(
    tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path
) -> None:
    arguments = ("predict", *pictures, "--bundle", tiny, "--runtime", "onnx", "--csv", tmp_path / "answers")
    result = cli(*arguments, "--json", tmp_path / "answers")
    assert (result.code, (tmp_path / "answers").exists()) == (2, False)
    assert cli(*arguments, "--json", "-").code == 0


def test_predict_fails_where_no_image_can_be_read(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    single = cli("predict", tmp_path / "a.png", "--bundle", tiny, "--runtime", "onnx")
    assert (single.code, single.out) == (2, "")
    both = cli("predict", tmp_path, "--bundle", tiny, "--runtime", "onnx")
    assert both.code == 2
    assert "2 of 2 images" in both.err
    (tmp_path / "empty").mkdir()
    assert "no images in this folder" in cli("predict", tmp_path / "empty", "--bundle", tiny).err
    assert cli("predict", tmp_path / "a.png", "--bundle", tiny, "--on-bad-image", "x").code == 2


def test_files_with_the_same_name_are_told_apart(tiny: Path, pictures: list[Path], cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other" / "0.png"
    other.parent.mkdir()
    other.write_bytes(pictures[2].read_bytes())
    result = cli("predict", pictures[0], other, pictures[1], "--bundle", tiny, "--runtime", "onnx")
    assert str(other) in result.out and str(pictures[0]) in result.out
    assert str(pictures[1]) not in result.out


def test_the_service_imports_the_public_api_alone() -> None:
    text = (ROOT / "examples" / "pi-service" / "cxr_watch.py").read_text()
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    modules = {node.module: {alias.name for alias in node.names} for node in imports if "cxr_edge" in str(node.module)}
    assert set(modules) == {"cxr_edge"} and modules["cxr_edge"] <= PUBLIC
    assert "import cxr_edge" not in text


@pytest.mark.slow
def test_a_user_without_a_home_gets_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle_with_references(tmp_path / "bundle")
    for variable in ("CXR_EDGE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    classifier = Classifier.open(bundle)
    assert classifier.selection_note is not None and "CXR_EDGE_CACHE" in classifier.selection_note
    assert classifier.predict(draw_phantom("Normal", 0, 80).pixels)
