"""The service and the examples in other languages agree with `cxr-edge predict`.

The complete Node.js and C examples need what `examples/check.sh BUNDLE DIR` installs: `CXR_EDGE_EXAMPLES=DIR`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_edge import ArtifactError, Classifier, ProviderError
from cxr_edge.imaging.decode import resized
from cxr_edge.runs import Run
from tests.conftest import Cli
from tests.tiny import ramp

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVICE = EXAMPLES / "pi-service" / "cxr_watch.py"
RUNTIME = {".onnx": "onnx", ".tflite": "litert"}
COMPILER = shutil.which("cc") or shutil.which("gcc")

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")


@pytest.fixture
def pictures(run: Run) -> list[Path]:
    return [sorted(folder.iterdir())[0] for folder in sorted((run.folder / "phantoms").iterdir())]


@pytest.fixture
def installed() -> Path:
    folder = os.environ.get("CXR_EDGE_EXAMPLES")
    if folder is None:
        pytest.skip("needs what examples/check.sh BUNDLE DIR installs: CXR_EDGE_EXAMPLES=DIR")
    return Path(folder).resolve()


def predicted(cli: Cli, images: list[Path], artifact: Path, target: Path) -> list[dict[str, Any]]:
    # The example's own runtime: another rounds int8 in another way.
    arguments = ["--artifact", artifact, "--runtime", RUNTIME[artifact.suffix], "--json", target]
    assert cli("predict", *images, *arguments).code == 0
    rows: list[dict[str, Any]] = json.loads(target.read_text())["rows"]
    return rows


@contextmanager
def service(inbox: Path, results: Path, artifact: Path) -> Iterator[subprocess.Popen[str]]:
    """The running service, which must exit with status 0 on SIGTERM."""
    command = [sys.executable, SERVICE, inbox, results, "--artifact", artifact, "--settle", "0.4", "--threads", "1"]
    command += ["--runtime", RUNTIME[artifact.suffix]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def wait_for(count: int, results: Path, process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The rows of the results file, as soon as it has `count` whole lines."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None
        text = results.read_text() if results.exists() else ""
        if text.count("\n") >= count:
            return [json.loads(line) for line in text.splitlines()]
        time.sleep(0.05)
    raise AssertionError(f"no {count} lines within a minute")


@pytest.mark.slow
def test_control_characters_in_file_names_are_escaped_in_the_journal(tiny: Path, tmp_path: Path) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.jsonl"
    inbox.mkdir()
    (inbox / "röntgen\x1b[31m\nbild.png").write_bytes(b"no image")
    with service(inbox, results, tiny / "xception-int8.onnx") as process:
        wait_for(1, results, process)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        journal = process.stderr.read()
    assert r"röntgen\x1b[31m\nbild.png: not an image" in journal
    assert "\x1b" not in journal


def test_service_agrees_with_predict(cli: Cli, bundle: Path, pictures: list[Path], tmp_path: Path) -> None:
    inbox, results, artifact = tmp_path / "inbox", tmp_path / "results.jsonl", bundle / "xception-int8.tflite"
    inbox.mkdir()
    (inbox / ".hidden.png").write_bytes(pictures[0].read_bytes())
    (inbox / "copying.png.part").write_bytes(pictures[0].read_bytes())
    (inbox / "folder.png").mkdir()
    with service(inbox, results, artifact) as process:
        for path in pictures:
            shutil.copy(path, inbox)
        wait_for(3, results, process)
        content = pictures[0].read_bytes()
        (inbox / "truncated.png").write_bytes(content[: len(content) // 2])
        wait_for(4, results, process)
        # An image overwritten under the same name is a new image.
        shutil.copy(pictures[1], inbox / pictures[0].name)
        rows = wait_for(5, results, process)
    assert [row["file"] for row in rows[3:]] == ["truncated.png", pictures[0].name]
    assert {row["file"] for row in rows[:3]} == {path.name for path in pictures}
    assert "truncated" in rows[3]["error"]
    assert "label" not in rows[3]
    expected = {Path(row["file"]).name: row for row in predicted(cli, pictures, artifact, tmp_path / "x.json")}
    manifest = json.loads((bundle / "manifest.json").read_text())
    (sha256,) = (entry["sha256"] for entry in manifest["artifacts"] if entry["file"] == artifact.name)
    for row in rows:
        assert (row["artifact"], row["sha256"]) == (artifact.name, sha256)
        assert row["time"].endswith("+00:00")
    for row, name in [*((row, row["file"]) for row in rows[:3]), (rows[4], pictures[1].name)]:
        assert "decision" in row
        assert (row["label"], row["decision"]) == (expected[name]["label"], expected[name]["decision"])
        assert row["probabilities"] == pytest.approx(expected[name]["probabilities"], abs=1e-6)
        assert row["labels"] == manifest["shared"]["labels"]


def test_service_resumes_after_a_restart(bundle: Path, pictures: list[Path], tmp_path: Path) -> None:
    inbox, results, artifact = tmp_path / "inbox", tmp_path / "results.jsonl", bundle / "xception-int8.tflite"
    inbox.mkdir()
    for path in pictures[:2]:
        shutil.copy(path, inbox)
    with service(inbox, results, artifact) as process:
        wait_for(2, results, process)
    whole, cut = results.read_bytes().splitlines(keepends=True)
    # As a power failure leaves it: the second image has no line.
    results.write_bytes(whole + cut[:40])
    shutil.copy(pictures[2], inbox)
    with service(inbox, results, artifact) as process:
        end = time.monotonic() + 60
        while results.read_bytes().count(b"\n") < 4 and time.monotonic() < end:
            time.sleep(0.05)
        # Two more scans, in which nothing may be added.
        time.sleep(0.5)
        command = [sys.executable, SERVICE, inbox, results, "--artifact", artifact]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 2
        assert "another process" in second.stderr
    lines = results.read_bytes().splitlines()
    assert lines[:2] == [whole.rstrip(b"\n"), cut[:40]]
    assert len(lines) == 4
    assert {json.loads(lines[at])["file"] for at in (2, 3)} == {json.loads(cut)["file"], pictures[2].name}


def test_service_finishes_the_image_in_hand_when_it_is_stopped(bundle: Path, run: Run, tmp_path: Path) -> None:
    artifact = bundle / "xception-int8.tflite"
    for attempt in range(3):
        inbox, results = tmp_path / f"inbox{attempt}", tmp_path / f"results{attempt}.jsonl"
        shutil.copytree(run.folder / "phantoms" / "Normal", inbox)
        with service(inbox, results, artifact) as process:
            wait_for(2, results, process)
        text = results.read_text()
        assert text.endswith("\n")
        assert 2 <= len([json.loads(line) for line in text.splitlines()]) < len(list(inbox.iterdir()))


@pytest.fixture
def watcher() -> ModuleType:
    """The service as a module, for what is simulated in it."""
    spec = importlib.util.spec_from_file_location("cxr_watch", SERVICE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_service_reports_an_unreadable_file_once(
    watcher: ModuleType,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "a.png").write_bytes(b"no image")
    results = watcher.Results(tmp_path / "results.jsonl")
    readable = [False, False, True]
    # Root may read every file, so the permission is simulated.
    monkeypatch.setattr(watcher.os, "access", lambda path, mode: readable.pop(0) if readable else True)
    stop = SimpleNamespace(came=lambda seconds: not readable)
    watcher.watch(inbox, watcher.Inbox(inbox, 0), results, Classifier.open(tiny, "onnx"), 0, stop)
    journal = capsys.readouterr().err
    assert journal.count("a.png: this user may not read it") == 1
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert "not an image" in json.loads(line)["error"]


@pytest.mark.parametrize(("kind", "code"), [(ProviderError, 2), (ArtifactError, 2), (MemoryError, 1)])
def test_service_ends_if_its_runtime_fails_and_classifies_the_image_after_a_restart(
    kind: type[Exception],
    code: int,
    watcher: ModuleType,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.jsonl"
    inbox.mkdir()
    Image.fromarray(ramp()).save(inbox / "a.png")
    stop = SimpleNamespace(came=lambda seconds: results.exists() and results.read_bytes() != b"")
    monkeypatch.setattr(watcher, "StopSignal", lambda: stop)
    arguments = [inbox, results, "--bundle", tiny, "--runtime", "onnx", "--settle", "0.1"]
    monkeypatch.setattr(sys, "argv", ["cxr_watch.py", *map(str, arguments)])

    def gone(classifier: Classifier, path: Path) -> None:
        raise kind("onnx: its process ended")

    with monkeypatch.context() as failing:
        failing.setattr(Classifier, "predict", gone)
        assert watcher.main() == code
    assert "its process ended" in capsys.readouterr().err
    assert results.read_bytes() == b""
    assert watcher.main() == 0
    (line,) = results.read_text().splitlines()
    assert (json.loads(line)["file"], "label" in json.loads(line)) == ("a.png", True)


def test_an_image_that_crashes_the_runtime_keeps_no_other_from_being_classified(
    watcher: ModuleType, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.jsonl"
    inbox.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(ramp()).save(inbox / name)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in results.read_text().splitlines()]

    monkeypatch.setattr(watcher, "StopSignal", lambda: SimpleNamespace(came=lambda seconds: len(lines()) == expected))
    arguments = [inbox, results, "--bundle", tiny, "--runtime", "onnx", "--settle", "0.1"]
    monkeypatch.setattr(sys, "argv", ["cxr_watch.py", *map(str, arguments)])
    predict = Classifier.predict

    def crash_on_a(classifier: Classifier, path: Path) -> Any:
        if path.name == "a.png":
            raise ProviderError("onnx:cuda: its process ended (killed by signal 9)")
        return predict(classifier, path)

    monkeypatch.setattr(Classifier, "predict", crash_on_a)
    results.touch()
    expected = 5
    assert watcher.main() == 2
    assert lines() == []
    for _ in range(2):
        assert watcher.main() == 2
        assert [row["file"] for row in lines()] == ["b.png"]
    # Nothing shows yet that the runtime works: it may be to blame.
    assert watcher.main() == 2
    Image.fromarray(ramp()).save(inbox / "c.png")
    expected = 3
    assert watcher.main() == 0
    assert [row["file"] for row in lines()] == ["b.png", "c.png", "a.png"]
    assert "ended 4 times while it classified this image" in lines()[2]["error"]


def test_service_reports_a_missing_package_once_and_classifies_what_does_not_need_it(
    watcher: ModuleType,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As if pydicom were not installed.
    monkeypatch.setitem(sys.modules, "pydicom", None)
    inbox, results = tmp_path / "inbox", tmp_path / "results.jsonl"
    inbox.mkdir()
    (inbox / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    scans = iter(range(4))

    def came(seconds: float) -> bool:
        # Between the scans: not after an image, which asks for no time.
        scan = next(scans) if seconds else 0
        if scan == 2:
            Image.fromarray(ramp()).save(inbox / "b.png")
        return scan == 3

    stop = SimpleNamespace(came=came)
    watcher.watch(inbox, watcher.Inbox(inbox, 0), watcher.Results(results), Classifier.open(tiny, "onnx"), 0.01, stop)
    journal = capsys.readouterr().err
    assert "a.dcm: a DICOM file, and pydicom is not installed here" in journal
    assert journal.count("a.dcm") == 1
    (line,) = results.read_text().splitlines()
    assert (json.loads(line)["file"], "label" in json.loads(line)) == ("b.png", True)


def test_service_refuses_unusable_arguments(bundle: Path, tmp_path: Path) -> None:
    good = bundle / "xception-int8.tflite"
    for inbox, results, artifact, code, message in [
        (tmp_path, tmp_path / "r.jsonl", good, 2, "must not lie in the watched folder"),
        (tmp_path / "no", tmp_path / "r.jsonl", good, 1, "No such file"),
        (tmp_path, tmp_path / "sub" / "r.jsonl", bundle / "missing.tflite", 2, "missing.tflite: no such artifact"),
    ]:
        command = [sys.executable, SERVICE, inbox, results, "--artifact", artifact, "--settle", "0.1"]
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (completed.returncode, message in completed.stderr) == (code, True), completed.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_is_valid(tmp_path: Path) -> None:
    unit = (EXAMPLES / "pi-service" / "cxr-watch.service").read_text()
    # The one thing that the place of installation decides.
    (tmp_path / "cxr-watch.service").write_text(unit.replace("/opt/cxr-edge/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", tmp_path / "cxr-watch.service"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stderr) == (0, "")


Resize = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


@pytest.fixture
def resize(request: pytest.FixtureRequest, tmp_path: Path) -> Resize:
    """The resize of the Node.js example or of the C example, by the name in the test's parameter."""
    if request.param == "Node.js":
        (tmp_path / "run.mjs").write_text(
            f'import {{ resizeBilinear }} from "{(EXAMPLES / "nodejs" / "resize.mjs").as_uri()}";\n'
            'import { readFileSync } from "node:fs";\n'
            "const [width, height, size] = process.argv.slice(2).map(Number);\n"
            "process.stdout.write(resizeBilinear(readFileSync(0), width, height, size));\n"
        )
        program = ["node", str(tmp_path / "run.mjs")]
    else:
        assert COMPILER is not None
        (tmp_path / "run.c").write_text(
            '#include "resize.h"\n#include <stdio.h>\n#include <stdlib.h>\n'
            "int main(int count, char **at) {\n"
            "    static uint8_t pixels[1 << 22], resized[1 << 22];\n"
            "    int width = atoi(at[1]), height = atoi(at[2]), size = atoi(at[3]);\n"
            "    fread(pixels, 1, sizeof pixels, stdin);\n"
            "    if (count != 4 || resize_bilinear(pixels, width, height, size, resized)) return 1;\n"
            "    return fwrite(resized, size, size, stdout) != (size_t)size;\n"
            "}\n"
        )
        program = [str(tmp_path / "run")]
        flags = ["-std=c11", "-O2", "-ffp-contract=off", f"-I{EXAMPLES / 'c'}"]
        sources = [tmp_path / "run.c", EXAMPLES / "c" / "resize.c"]
        subprocess.run([COMPILER, *flags, "-o", program[0], *sources, "-lm"], check=True)

    def call(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        height, width = pixels.shape
        arguments = [str(value) for value in (width, height, size)]
        completed = subprocess.run([*program, *arguments], input=pixels.tobytes(), capture_output=True, check=True)
        return np.frombuffer(completed.stdout, np.uint8).reshape(size, size)

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    "resize", [pytest.param("Node.js", marks=needs_node), pytest.param("C", marks=needs_compiler)], indirect=True
)
def test_resize_matches_pillow_bit_for_bit(resize: Resize) -> None:
    noise = np.random.default_rng(0)
    for width, height, size in [
        *[(256, 256, 71), (71, 71, 71), (71, 90, 71), (90, 71, 71), (1500, 1240, 299), (640, 331, 128)],
        *[(50, 60, 150), (1, 1, 71), (3, 2, 71), (400, 30, 128)],
        # Columns first; the last two on either side of where Pillow decides so.
        *[(330, 1200, 71), (30, 400, 128), (100, 229, 71), (100, 130, 71), (100, 129, 71)],
    ]:
        pixels = noise.integers(0, 256, (height, width), dtype=np.uint8)
        assert np.array_equal(resize(pixels, size), resized(Image.fromarray(pixels), size)), (width, height, size)


def assert_equal(lines: list[str], rows: list[dict[str, Any]]) -> None:
    assert len(lines) == len(rows) > 0
    for line, row in zip(lines, rows, strict=True):
        path, label, *probabilities = line.split("\t")
        assert (path, label) == (row["file"], row["label"])
        assert [float(value) for value in probabilities] == pytest.approx(row["probabilities"], abs=1e-3)


@needs_node
def test_node_equals_predict(installed: Path, cli: Cli, bundle: Path, pictures: list[Path], tmp_path: Path) -> None:
    for path in (EXAMPLES / "nodejs").glob("*.mjs"):
        shutil.copy(path, tmp_path)
    (tmp_path / "node_modules").symlink_to(installed / "node_modules")
    grey = Image.open(pictures[0]).convert("L")
    others = [tmp_path / "high.png", tmp_path / "colour.png", tmp_path / "turned.jpg"]
    grey.resize((200, 700)).save(others[0])
    Image.merge("RGBA", (grey, grey.rotate(3), grey.rotate(6), grey)).save(others[1])
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(others[2], exif=exif)
    artifact, images = bundle / "xception-int8.onnx", [*pictures, *others]
    program = ["node", tmp_path / "classify.mjs"]
    completed = subprocess.run([*program, artifact, *images], capture_output=True, text=True, check=True)
    assert_equal(completed.stdout.splitlines(), predicted(cli, images, artifact, tmp_path / "x.json"))

    content = pictures[0].read_bytes()
    (tmp_path / "truncated.png").write_bytes(content[: len(content) // 2])
    Image.fromarray(np.full((80, 80), 900, np.uint16)).save(tmp_path / "sixteen.png")
    shutil.copy(bundle / "manifest.json", tmp_path)
    changed = tmp_path / artifact.name
    changed.write_bytes(artifact.read_bytes() + b"\0")
    truncated, sixteen = tmp_path / "truncated.png", tmp_path / "sixteen.png"
    for model, path in [(artifact, truncated), (artifact, sixteen), (changed, changed)]:
        completed = subprocess.run([*program, model, path], capture_output=True, text=True, check=False)
        assert (completed.returncode, completed.stdout) == (1, "")
        assert completed.stderr.startswith(f"{path}: ")


@needs_compiler
def test_c_equals_predict(installed: Path, cli: Cli, bundle: Path, pictures: list[Path], tmp_path: Path) -> None:
    source = shutil.copytree(EXAMPLES / "c", tmp_path / "c")
    command = ["make", "-C", source, f"ORT={installed / 'ort'}", f"CC={COMPILER}", "CFLAGS=-O2 -Werror"]
    subprocess.run(command, check=True, capture_output=True)
    images = []
    for path in pictures:
        grey = Image.open(path).convert("L")
        for name, picture in [("", grey), ("-high", grey.resize((200, 700))), ("-wide", grey.resize((700, 200)))]:
            images.append(tmp_path / f"{path.stem}{name}.pgm")
            picture.save(images[-1])
    artifact = bundle / "xception-int8.onnx"
    completed = subprocess.run([source / "classify", artifact, *images], capture_output=True, text=True, check=True)
    assert_equal(completed.stdout.splitlines(), predicted(cli, images, artifact, tmp_path / "x.json"))

    (tmp_path / "truncated.pgm").write_bytes(images[0].read_bytes()[:500])
    Image.fromarray(np.full((80, 80), 900, np.uint16)).save(tmp_path / "sixteen.pgm")
    for path in (tmp_path / "truncated.pgm", tmp_path / "sixteen.pgm", pictures[0], tmp_path / "missing.pgm"):
        completed = subprocess.run([source / "classify", artifact, path], capture_output=True, text=True, check=False)
        assert (completed.returncode, completed.stdout) == (1, "")
        assert completed.stderr.startswith(f"{path}: ")
