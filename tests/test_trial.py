"""A file new to this machine runs in another process first, where it can crash its runtime without harm."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from cxr_edge import ArtifactError, Classifier
from cxr_edge.artifacts.contract import IMAGE, PROBABILITIES
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.errors import ProviderError
from cxr_edge.exporting.verify import preferred_session, session_of
from cxr_edge.imaging.decode import resized
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.runtimes import trial
from cxr_edge.runtimes.accelerators import Ask, Request, Worker
from cxr_edge.runtimes.base import Runtime, all_runtimes
from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession
from cxr_edge.runtimes.trial import start_worker
from cxr_edge.updates.archive import pack
from tests.conftest import Cli
from tests.tiny import SIZE, expected, ramp, write_artifact, write_bundle_with_references

CRASH = "import os, sys; sys.stdin.buffer.read(9); os.kill(os.getpid(), 11)"
HANG = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing in its cache."""
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(trial, "_survived", set())
    monkeypatch.setattr(trial, "start_worker", start_worker)


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make every trial end as the given program does."""

    def become(program: str) -> None:
        monkeypatch.setattr(trial, "start_worker", lambda: Worker("a trial", [sys.executable, "-c", program], 1))

    return become


@pytest.fixture
def bundle_of_two(tmp_path: Path) -> Path:
    return write_bundle_with_references(tmp_path / "bundle")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The processes that are started."""
    commands: list[object] = []
    popen = subprocess.Popen

    def watched(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        commands.append(arguments)
        return popen(*arguments, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "Popen", watched)
    return commands


COMMANDS = [
    ("verify", "--replay", "--bundle", "BUNDLE"),
    ("evaluate", "--bundle", "BUNDLE", "--data", "IMAGES"),
    ("bench", "--bundle", "BUNDLE", "--quick", "--runtime", "onnx"),
    ("predict", "IMAGES/Normal/0.png", "--bundle", "BUNDLE"),
    ("predict", "IMAGES/Normal/0.png", "--bundle", "BUNDLE", "--runtime", "litert"),
    ("predict", "IMAGES/Normal/0.png", "--artifact", "LOOSE"),
    ("inspect", "BUNDLE/xception-int8.onnx"),
    ("inspect", "BUNDLE/xception-int8.tflite"),
    ("inspect", "LOOSE"),
    ("install", "ZIP", "--into", "DEVICE"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "program", "message"),
    # How a trial ends is the same for all.
    [*((command, CRASH, "killed by signal 11") for command in COMMANDS), (COMMANDS[0], HANG, "killed by signal 9")],
)
def test_a_file_that_crashes_its_runtime_is_one_error_line_in_every_command(
    bundle_of_two: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    crashing: Callable[[str], None],
    command: tuple[str, ...],
    program: str,
    message: str,
) -> None:
    # Asking for accelerators takes a process for each.
    monkeypatch.setattr("cxr_edge.prediction.fastest.every_runtime", all_runtimes)
    for label in ("COVID-19", "Normal", "Viral Pneumonia"):
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.fromarray(draw_phantom(label, 0, 80).pixels).save(tmp_path / "images" / label / "0.png")
    shutil.copy(bundle_of_two / "xception-int8.onnx", tmp_path / "loose.onnx")
    pack(bundle_of_two, tmp_path / "bundle.zip")
    places = {
        "BUNDLE": bundle_of_two,
        "IMAGES": tmp_path / "images",
        "LOOSE": tmp_path / "loose.onnx",
        "ZIP": tmp_path / "bundle.zip",
        "DEVICE": tmp_path / "device",
    }
    arguments = [
        str(places.get(head, head)) + slash + tail for head, slash, tail in (a.partition("/") for a in command)
    ]
    crashing(program)
    result = cli(*arguments)
    assert result.code in (2, 3)
    assert message in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == 1
    assert not (tmp_path / "device").exists() or not any((tmp_path / "device").glob("bundles/*"))


@pytest.mark.parametrize("kind", ArtifactFormat)
@pytest.mark.parametrize("signed_activations", [False, True])
def test_a_file_that_crashes_a_runtime_is_an_artifact_error(
    tiny: Path, crashing: Callable[[str], None], kind: ArtifactFormat, signed_activations: bool
) -> None:
    crashing(CRASH)
    with pytest.raises(ArtifactError, match="killed by signal 11"):
        preferred_session(tiny / f"xception-int8.{kind}", kind, signed_activations)


@pytest.mark.parametrize("recipe", [None, {"activation_type": "uint8"}, {"activation_type": "int8"}])
def test_signed_activations_are_verified_in_integers_also_after_their_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, str] | None
) -> None:
    session, is_signed = ONNXRuntimeSession, []

    def opened(*arguments: Any, **options: Any) -> ONNXRuntimeSession:
        is_signed.append(options.get("as_on_arm", False))
        return session(*arguments, **options)

    monkeypatch.setattr("cxr_edge.runtimes.onnx_runtime.ONNXRuntimeSession", opened)
    session_of(write_artifact(tmp_path / "xception-int8.onnx", Quantization.INT8, recipe=recipe))
    assert any(is_signed) == (recipe is not None and recipe["activation_type"] == "int8")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", all_runtimes(), ids=lambda runtime: runtime.extra)
@pytest.mark.parametrize("place", ["bundle", "loose"])
def test_a_file_is_tried_only_once_per_machine(
    tiny: Path, tmp_path: Path, started: list[object], monkeypatch: pytest.MonkeyPatch, runtime: Runtime, place: str
) -> None:
    if not runtime.installed():
        pytest.skip(f"{runtime.label} is not installed")
    path = tiny / f"xception-float32.{runtime.formats[0]}"
    if place == "loose":
        path = Path(shutil.copy(path, tmp_path))
    for _ in range(2):
        answer = Classifier.open(path, runtime.option).predict(ramp())
        pixels = resized(Image.fromarray(ramp()), SIZE)[None, :, :, None]
        assert answer[0].probabilities == pytest.approx(expected(pixels)[0], abs=1e-4)
        assert len(started) == 1
        # The next process has the cache alone.
        monkeypatch.setattr(trial, "_survived", set())


def test_without_a_cache_a_process_tries_a_file_once(
    tiny: Path, tmp_path: Path, started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "file" / "cache"))
    for _ in range(2):
        Classifier.open(tiny / "xception-int8.onnx", "onnx")
        assert len(started) == 1


@pytest.mark.parametrize(
    ("size", "output"), [((71, 71, 3), "classes"), ((71, 71, 3), PROBABILITIES), ((16_000, 16_000, 1), PROBABILITIES)]
)
def test_a_file_of_another_tool_with_an_input_called_image_is_inspected_without_images(
    tmp_path: Path, cli: Cli, size: tuple[int, int, int], output: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Cast", [IMAGE], ["cast"], to=1), helper.make_node("GlobalAveragePool", ["cast"], [output])],
        "other",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, *size])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, size[0], 1, 1])],
    )
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    tracemalloc.start()
    try:
        result = cli("inspect", path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.code == 0, result.err
    assert peak < 100 << 20


def test_a_file_of_another_tool_that_does_not_compute_here_is_inspected(tmp_path: Path, cli: Cli) -> None:
    """With our input and output, and an index beyond the end of what it reads."""
    values, beyond = helper.make_tensor("values", 1, [3], [0.0] * 3), helper.make_tensor("beyond", 7, [1], [9])
    nodes = [
        helper.make_node("Cast", [IMAGE], ["cast"], to=7),
        helper.make_node("Add", ["cast", "beyond"], ["index"]),
        helper.make_node("Gather", ["values", "index"], [PROBABILITIES]),
    ]
    image = helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [1, 80, 80, 1])
    output = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [1, 80, 80, 1])
    graph = helper.make_graph(nodes, "beyond", [image], [output], [values, beyond])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    result = cli("inspect", path)
    assert result.code == 0, result.err
    assert "Gather 1" in result.out


def write_inflating(path: Path, numbers: int) -> None:
    """A file of another tool of a few bytes, of which ONNX Runtime makes a constant of many numbers on loading."""
    value, shape = helper.make_tensor("value", 1, [1], [1.0]), helper.make_tensor("shape", 7, [1], [numbers])
    nodes = [
        helper.make_node("Expand", ["value", "shape"], ["constant"]),
        helper.make_node("ReduceMax", ["constant"], ["greatest"], keepdims=0),
        helper.make_node("Add", ["x", "greatest"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "inflating", values[:1], values[1:], [value, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_file_of_another_tool_that_fills_the_memory_of_its_trial_is_loaded_nowhere_else(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_inflating(tmp_path / "fills.onnx", 100_000_000)
    limited = "from cxr_edge.runtimes import accelerators, trial; trial._MEMORY = 512 << 20; trial._limit_memory(); "
    command = [sys.executable, "-c", limited + "accelerators.serve()"]
    monkeypatch.setattr(trial, "start_worker", lambda: Worker("a trial", command, 60))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("loaded in this process"))
    result = cli("inspect", tmp_path / "fills.onnx")
    assert result.code == 2
    assert "ONNX Runtime cannot load it" in result.err
    # It is tried again the next time.
    assert not list((tmp_path / "cache").glob("tried-*"))


def test_a_tflite_file_of_another_tool_is_inspected(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    content = (tiny / "xception-int8.tflite").read_bytes()
    (tmp_path / "other.tflite").write_bytes(content.replace(PROBABILITIES.encode(), b"x" * len(PROBABILITIES)))
    result = cli("inspect", tmp_path / "other.tflite")
    assert result.code == 0, result.err
    assert len(list((tmp_path / "cache").glob("tried-*"))) == 1


def test_a_signed_bundle_is_tried_only_on_installation_where_signatures_are_required(
    bundle_of_two: Path,
    tmp_path: Path,
    cli: Cli,
    crashing: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[Path, Path],
) -> None:
    private, public = keys
    assert cli("release", bundle_of_two, "--key", private, "--name", "m", "--version", 1).code == 0
    crashing(CRASH)
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", str(public))
    assert cli("verify", "--replay", "--bundle", bundle_of_two).code == 0
    # On installation it is.
    pack(bundle_of_two, tmp_path / "bundle.zip")
    result = cli("install", tmp_path / "bundle.zip", "--into", tmp_path / "device")
    assert "killed by signal 11" in result.err


def test_a_file_that_was_just_hashed_is_not_hashed_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "sha256_of", lambda path: pytest.fail(f"{path} hashed again"))
    for path in (tiny, tiny / "xception-int8.onnx"):
        Classifier.open(path, "onnx", 1)


def test_code_in_the_working_folder_is_not_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "bundle"))
    for name in ("numpy", "onnxruntime", "cxr_edge"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(folder)
    Classifier.open("xception-int8.onnx", "onnx")
    assert not (tmp_path / "ran").exists()


def test_a_worker_is_killed_where_it_takes_too_long() -> None:
    worker = Worker("a runtime", [sys.executable, "-c", HANG], 0.5)
    with pytest.raises(ProviderError, match="signal 9"):
        worker.ask(Request(Ask.STATE))
