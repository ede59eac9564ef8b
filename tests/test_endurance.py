"""Long work and full disks: memory that stays flat, answers that stay the same, bursts of files, no room to write."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge.artifacts.bundle import MANIFEST, bundle_in, read_bundle
from cxr_edge.artifacts.publishing import publish
from cxr_edge.files import write_json
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.runtimes.base import Runtime, all_runtimes
from cxr_edge.updates.archive import pack
from cxr_edge.updates.install import install
from tests.conftest import Cli
from tests.tiny import write_bundle_with_references

SERVICE = Path(__file__).parents[1] / "examples" / "pi-service" / "cxr_watch.py"

#: `python -c` with an artifact, a runtime and a number of predictions; the figures of each tenth of them.
_PREDICT = """
import json, sys, time
import numpy as np
from cxr_edge import Classifier
classifier = Classifier.open(sys.argv[1], sys.argv[2], 1)
images = np.random.default_rng(0).integers(0, 256, (10, *[classifier.contract.image_size] * 2), dtype=np.uint8)
first = [prediction.probabilities for prediction in classifier.predict(list(images))]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
tenths, differing = [], 0
for tenth in range(10):
    seconds = []
    for _ in range(int(sys.argv[3]) // 100):
        for index, image in enumerate(images):
            start = time.perf_counter()
            answer = classifier.predict(image)[0].probabilities
            seconds.append(time.perf_counter() - start)
            differing += answer != first[index]
    tenths.append({"resident": resident(), "p99_ms": 1000 * float(np.percentile(seconds, 99))})
print(json.dumps({"tenths": tenths, "differing": differing}))
"""


def require_endurance(artifact: Path, runtime: str, count: int) -> None:
    """Assert that answers and memory stay constant over `count` predictions in one process; prints the figures."""
    result = subprocess.run(
        [sys.executable, "-c", _PREDICT, str(artifact), runtime, str(count)], capture_output=True, text=True, check=True
    )
    record = json.loads(result.stdout.splitlines()[-1])
    assert record["differing"] == 0
    resident = [tenth["resident"] for tenth in record["tenths"][1:]]
    slope = np.polyfit(range(len(resident)), resident, 1)[0] / (count / 10)
    p99 = [round(tenth["p99_ms"], 2) for tenth in record["tenths"]]
    print(f"{artifact.name} on {runtime}, {count} predictions: {slope:.1f} bytes each; p99 of each tenth {p99} ms")
    # Less than a gigabyte in ten million predictions, or what an allocator's noise is in few.
    assert slope < max(100, 4e6 / count)


NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="/proc tells the memory")


@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000, pytest.param(50_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(("runtime", "kind"), [("litert", "tflite"), ("onnx", "onnx"), ("openvino", "onnx")])
def test_memory_and_answers_stay_constant_over_many_predictions(
    tiny: Path, runtime: str, kind: str, count: int
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino", reason="pip install 'cxr-edge[openvino]'")
    require_endurance(tiny / f"xception-int8.{kind}", runtime, count)


@NEEDS_PROC
@pytest.mark.exhaustive
@pytest.mark.parametrize("runtime", all_runtimes(), ids=lambda runtime: runtime.extra)
def test_a_trained_artifact_passes_the_same_endurance_test(runtime: Runtime) -> None:
    """Each int8 artifact of the run that `CXR_EDGE_TEST_RUN` names; hours where its images are large."""
    if (run := os.environ.get("CXR_EDGE_TEST_RUN")) is None:
        pytest.skip("needs a trained and exported run: CXR_EDGE_TEST_RUN=DIR")
    if not runtime.installed():
        pytest.skip(f"{runtime.label} is not installed")
    names = [
        f"xception-int8.{kind}" for kind in runtime.formats if (Path(run) / f"bundle/xception-int8.{kind}").exists()
    ]
    if not names:
        pytest.skip(f"the run has no int8 artifact for {runtime.label}")
    for name in names:
        require_endurance(Path(run) / "bundle" / name, runtime.option, 50_000)


@pytest.mark.parametrize(("count", "kills"), [(60, 2), pytest.param(1_000, 30, marks=pytest.mark.exhaustive)])
def test_each_file_of_a_burst_is_answered_once_despite_kills(
    tiny: Path, tmp_path: Path, count: int, kills: int
) -> None:
    inbox, results = tmp_path / "inbox", tmp_path / "results.jsonl"
    inbox.mkdir()
    command = [sys.executable, SERVICE, inbox, results, "--artifact", tiny / "xception-int8.onnx", "--settle", "0.2"]
    command += ["--threads", "1", "--runtime", "onnx"]
    rng, grey = random.Random(0), np.random.default_rng(0)
    killed_at = set(rng.sample(range(1, count), kills))
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        for index in range(count):
            path = inbox / f"{index:04}.png"
            Image.fromarray(grey.integers(0, 256, (80, 80), dtype=np.uint8)).save(path)
            if rng.random() < 0.3:
                # Half of it now, all of it a moment later.
                content = path.read_bytes()
                path.write_bytes(content[: len(content) // 2])
                path.write_bytes(content)
            if index in killed_at:
                time.sleep(rng.uniform(0, 2))
                process.send_signal(signal.SIGKILL)
                process.wait()
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120 + count
        while len(_answered(results)) < count and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        process.terminate()
        assert process.wait(60) == 0
    answered = _answered(results)
    assert sorted(answered) == [f"{index:04}.png" for index in range(count)]


def _answered(results: Path) -> list[str]:
    """Names of the files with a label; a killed service may have left half a line."""
    rows = []
    for line in results.read_text().splitlines() if results.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return [row["file"] for row in rows if "label" in row]


#: `python -c` with a size and a command: no file may grow beyond it, as on a disk that is full.
_FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from cxr_edge.cli import main
sys.argv = ["cxr-edge", *sys.argv[2:]]
main()
"""


def full_disk(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _FULL, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_a_full_disk_is_a_one_line_error_and_leaves_the_old_bundle_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.updates.install.prove", lambda folder, max_p90_ms: None)
    for name, temperature in (("old", 1.0), ("new", 2.0)):
        pack(write_bundle_with_references(tmp_path / name, temperature), tmp_path / f"{name}.zip")
    device = tmp_path / "device"
    install(tmp_path / "old.zip", device)
    before = sorted(device.rglob("*"))
    for arguments in (
        ("install", tmp_path / "new.zip", "--into", device),
        ("install", tmp_path / "new.zip", "--into", tmp_path / "other"),
        ("pack", tmp_path / "new", "--output", tmp_path / "other.zip"),
        ("inspect", tmp_path / "new" / "xception-int8.tflite", "--json", tmp_path / "other.json"),
    ):
        result = full_disk(100, *arguments)
        assert result.returncode == 2, (arguments, result.stderr)
        assert len(result.stderr.splitlines()) == 1
        assert "File too large" in result.stderr
        assert str(tmp_path) in result.stderr
    assert sorted(device.rglob("*")) == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith((".", "other"))] == []
    assert read_bundle(bundle_in(device))


def test_an_export_without_room_leaves_the_bundle_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bundle_with_references(tmp_path / "bundle")
    before = (folder / MANIFEST).read_bytes()
    artifact = read_bundle(folder)[0]

    def no_room(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_room)
        with pytest.raises(OSError, match="No space"):
            publish(artifact.path, artifact.path.read_bytes(), artifact.metadata)
    assert (folder / MANIFEST).read_bytes() == before
    assert len(read_bundle(folder)) == 2
    assert [path for path in folder.iterdir() if "partial" in path.name] == []


def test_predict_works_without_a_home_folder_or_a_writable_cache(tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    Image.fromarray(draw_phantom("Normal", 0, 80).pixels).save(picture)
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "CXR_EDGE_CACHE")}
    (tmp_path / "file").write_text("no folder")
    for own in ({"CXR_EDGE_CACHE": str(tmp_path / "file" / "cache")}, {"HOME": str(tmp_path / "absent" / "home")}):
        result = subprocess.run(
            [sys.executable, "-m", "cxr_edge", "predict", str(picture), "--bundle", str(tiny)],
            capture_output=True,
            text=True,
            env={**environment, **own},
        )
        assert result.returncode == 0, result.stderr


def test_a_record_that_cannot_be_written_is_one_line(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    write_json(tmp_path / "file", {})
    result = cli("inspect", tiny / "xception-int8.onnx", "--json", tmp_path / "file" / "x.json")
    assert result.code == 2
    assert len(result.err.splitlines()) == 1


def test_a_terminal_without_box_drawing_characters_shows_the_answer(tiny: Path, tmp_path: Path) -> None:
    picture = tmp_path / "x.png"
    Image.fromarray(draw_phantom("Normal", 0, 80).pixels).save(picture)
    command = [sys.executable, "-m", "cxr_edge", "predict", str(picture), "--bundle", str(tiny), "--runtime", "onnx"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "COVID-19" in result.stdout
