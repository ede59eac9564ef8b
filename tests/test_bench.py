"""The benchmark: what it measures is what happens, what it compares is judged, and nothing falls back silently."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest, write_manifest
from cxr_edge.benchmarking.energy import energy_meter
from cxr_edge.benchmarking.files import measure_files, write_sample_files
from cxr_edge.benchmarking.latency import Candidate, measure
from cxr_edge.benchmarking.noise import judge_noise, read_clock
from cxr_edge.benchmarking.ratios import paired_ratio, ratio_interval
from cxr_edge.benchmarking.startup import DidNotStart, startup
from cxr_edge.benchmarking.throughput import throughput
from cxr_edge.errors import ProviderError
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.processors import describe_cpu
from cxr_edge.runs import Run
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import every_runtime
from tests.artifacts import some_artifact
from tests.conftest import Cli
from tests.tiny import resealed

IMAGES = np.zeros((2, 71, 71, 1), np.uint8)


class Sleeper:
    """A model that takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds * len(images))
        return np.zeros((len(images), 3), np.float32)


@pytest.mark.slow
def test_measured_latency_is_the_time_a_query_takes() -> None:
    # Long compared with the scheduling delays of a busy machine.
    pair = [Candidate(str(seconds), "none", Sleeper(seconds), 0.0) for seconds in (0.02, 0.06)]
    measure(pair, IMAGES, queries=25, seconds=0.0)
    fast, slow = (candidate.figures() for candidate in pair)
    assert fast.p50_ms == pytest.approx(20, rel=0.3)
    assert slow.p50_ms == pytest.approx(60, rel=0.3)
    assert len(slow.rounds_ms) == 5
    low, high = ratio_interval(slow.rounds_ms, fast.rounds_ms, paired=True)
    assert 2.3 < low <= high < 3.4


def test_a_machine_that_slows_down_leaves_paired_ratios_alone() -> None:
    drift = np.linspace(1, 3, 12)
    assert ratio_interval(2 * drift, drift, paired=True) == pytest.approx((2, 2))
    assert paired_ratio(2 * drift, drift) == pytest.approx(2)
    low, high = ratio_interval(2 * drift, drift, paired=False)
    assert low < 1.8 and high > 2.2
    assert ratio_interval([1.0] * 3, [1.0] * 3, paired=True) is None


@pytest.mark.slow
def test_throughput_uses_every_core_it_is_given() -> None:
    rate = throughput(lambda threads: Sleeper(0.04), IMAGES, cores=4, seconds=1.2, batches=False)
    assert rate.images_per_second == pytest.approx(100, rel=0.25)
    assert rate.how == "4 x 1 thread"


def test_throughput_runs_every_image() -> None:
    seen: list[int] = []

    class Watcher(Sleeper):
        def run(self, images: np.ndarray) -> np.ndarray:
            seen.extend(images[:, 0, 0, 0].tolist())
            return super().run(images)

    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    throughput(lambda threads: Watcher(0.001), images, cores=1, seconds=0.1, batches=False)
    assert set(seen) == set(range(20))
    seen.clear()
    throughput(lambda threads: Watcher(0.001), images, cores=1, seconds=0.1, batches=True)
    assert set(seen[-5 * 8 :]) == set(range(20))


def test_batches_take_no_copies_of_all_images_and_each_image_equally_often() -> None:
    seen = np.zeros(500, int)

    class Counter:
        def run(self, images: np.ndarray) -> np.ndarray:
            if len(images) > 1 and seen.sum() < 500 * 8:
                np.add.at(seen, images[:, 0, 0, 0].astype(int), 1)
            return np.zeros((len(images), 3), np.float32)

    images = np.arange(500, dtype=np.uint16)[:, None, None, None] * np.ones((1, 40, 40, 1), np.uint16)
    tracemalloc.start()
    throughput(lambda threads: Counter(), images, cores=1, seconds=0.5, batches=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * images.nbytes
    assert set(seen) == {8}


def test_an_error_while_throughput_is_measured_ends_it() -> None:
    class Dying(Sleeper):
        def run(self, images: np.ndarray) -> np.ndarray:
            raise ProviderError("onnx:cuda: its process has died")

    with pytest.raises(ProviderError, match="has died"):
        throughput(lambda threads: Dying(0.001), IMAGES, cores=2, seconds=0.1, batches=False)


#: In a process of its own: SIGINT may be ignored here, as in every background job, and a worker does not survive it.
INTERRUPTED = """
import signal, threading, time
import numpy as np
from cxr_edge.benchmarking.throughput import throughput

class Sleeper:
    def run(self, images):
        time.sleep(0.01)

signal.signal(signal.SIGINT, signal.default_int_handler)
timer = threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
timer.start()
try:
    throughput(lambda threads: Sleeper(), np.zeros((2, 8, 8, 1), np.uint8), cores=2, seconds=60, batches=False)
except KeyboardInterrupt:
    timer.join()
    print(threading.active_count(), "thread left")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a thread")
def test_an_interrupt_while_throughput_is_measured_leaves_no_thread_behind() -> None:
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=50)
    assert (result.returncode, result.stdout) == (0, "1 thread left\n"), result.stderr


class Failing(RemoteSession):
    """In a separate process that dies after some queries."""

    def __init__(self, queries: int) -> None:
        self.left = queries

    def timed_run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        self.left -= 1
        if self.left < 0:
            raise ProviderError("onnx:cuda: its process has died")
        return np.zeros((len(images), 3), np.float32), 0.001


@pytest.mark.parametrize("queries", [2, 7])
def test_an_accelerator_that_fails_while_it_is_measured_leaves_the_others_their_figures(queries: int) -> None:
    healthy, failing = Candidate("a", "CPU", Sleeper(0.001), 0.0), Candidate("b", "CUDA", Failing(queries), 0.0)
    blocks: list[None] = []
    measure([failing, healthy], IMAGES, queries=10, seconds=0.0, on_block=lambda: blocks.append(None))
    assert failing.failure is not None and "has died" in str(failing.failure)
    assert healthy.failure is None
    assert len(healthy.seconds) >= 10
    assert len(blocks) == 2 * healthy.rounds

    class Refusing(Sleeper):
        def run(self, images: np.ndarray) -> np.ndarray:
            raise ProviderError("a defect of this process")

    with pytest.raises(ProviderError, match="of this process"):
        measure([Candidate("c", "CPU", Refusing(0.001), 0.0)], IMAGES, queries=10, seconds=0.0)


def test_an_arm_board_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    core = {"Features": "fp asimd", "CPU implementer": "0x41", "CPU part": "0xd08"}
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("cxr_edge.processors._device_tree_model", lambda: "")
    named = []
    for more in ({}, {"CPU part": "0xd0b"}, {"Model": "Raspberry Pi 4 Model B"}, {"Model": "Raspberry Pi 5 Model B"}):
        monkeypatch.setattr("cxr_edge.processors._cpuinfo", lambda more=more: core | more)
        named.append(describe_cpu())
    assert len({name for name, _ in named}) == 4
    assert named[-1] == ("aarch64, Raspberry Pi 5 Model B", ["asimd"])


@pytest.mark.slow
def test_the_folder_is_decoded_while_it_is_classified(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.png" for index in range(12)]
    for index, path in enumerate(files):
        Image.fromarray(draw_phantom("Normal", index, 256).pixels).save(path)
    times = measure_files(files, Sleeper(0.1), some_artifact(tmp_path / "a.onnx"), repeats=1, cores=2, seconds=0.1)
    stages = {stage.stage: stage.p50_ms for stage in times.stages}
    assert stages["inference"] == pytest.approx(100, rel=0.3)
    assert stages["whole"] >= stages["decode"] + stages["inference"]
    # A sleeping model leaves the cores to the decoder.
    assert times.folder.share > 0.85


@pytest.mark.slow
def test_sample_files_are_what_hospitals_hand_out(tmp_path: Path) -> None:
    files = write_sample_files(tmp_path)
    assert {path.suffix for path in files} == {".png", ".jpg"}
    assert {Image.open(path).width for path in files} == {300, 600, 1024, 2500}


def test_energy_is_what_the_counters_say(tmp_path: Path) -> None:
    assert energy_meter(tmp_path) is None
    zones = (("0", "package-0", 5_000_000), ("0:0", "core", 1), ("1", "package-1", 9_000_000), ("2", "psys", 20))
    for number, name, value in zones:
        zone = tmp_path / "class" / "powercap" / f"intel-rapl:{number}"
        zone.mkdir(parents=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(str(value))
        (zone / "max_energy_range_uj").write_text("10000000")
    meter = energy_meter(tmp_path)
    assert meter is not None and meter.joules() == 0
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("7000000")
    # The counter wrapped around.
    (tmp_path / "class/powercap/intel-rapl:1/energy_uj").write_text("500000")
    assert meter.joules() == pytest.approx(2 + 1.5)


def test_jetsons_rail_is_added_up(tmp_path: Path) -> None:
    rail = tmp_path / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon0"
    rail.mkdir(parents=True)
    for name, value in (("in1_label", "VDD_IN"), ("in1_input", "5000"), ("curr1_input", "2000")):
        (rail / name).write_text(value)
    meter = energy_meter(tmp_path)
    assert meter is not None
    before, start = meter.joules(), time.monotonic()
    time.sleep(0.2)
    # 5 V times 2 A.
    assert meter.joules() - before == pytest.approx(10 * (time.monotonic() - start), rel=0.2)


def test_noise_is_reported(tmp_path: Path) -> None:
    throttle = tmp_path / "devices/system/cpu/cpu0/thermal_throttle"
    throttle.mkdir(parents=True)
    (throttle / "core_throttle_count").write_text("3")
    before = read_clock(tmp_path)
    assert not judge_noise([0.01, 0.02], (before, read_clock(tmp_path))).noisy
    assert judge_noise([0.3, 0.2], (before, before)).noisy
    (throttle / "core_throttle_count").write_text("5")
    reasons = judge_noise([0.01], (before, read_clock(tmp_path))).reasons
    assert reasons == ("the CPU was throttled for heat 2 times",)


@pytest.fixture(scope="module")
def record(small_run: Run, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of float32 and int8 on all runtimes, with everything that is measured."""
    from tests.conftest import type_command

    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(
        small_run.folder, folder / "run", ignore=shutil.ignore_patterns("phantoms", "quantized", "bundle-*")
    )
    run = Run(folder / "run")
    kept = [artifact for artifact in read_bundle(run.bundle) if artifact.quantization in ("float32", "int8")]
    write_manifest(run.bundle, read_manifest(run.bundle).shared, kept)
    outputs = [f"--{kind}={folder / f'bench.{kind}'}" for kind in ("json", "markdown", "csv")]
    assert type_command(["bench", "--run", str(run.folder), "--queries", "25", "--seconds", "0", *outputs]) == 0
    return {**json.loads((folder / "bench.json").read_text()), "folder": str(folder)}


def test_every_pair_is_in_the_record(record: dict[str, Any], small_run: Run) -> None:
    rows = {row["id"]: row for row in record["rows"]}
    assert record["schema"] == 3
    assert {"model.h5@keras", "xception-int8.tflite@litert", "xception-int8.onnx@onnx"} <= set(rows)
    assert len(rows) == len(record["rows"])
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["worst_ms"]
        assert row["queries"] >= 25
        assert row["startup"]["start_ms"] > row["startup"]["load_ms"] > 0
        assert row["startup"]["peak_memory_bytes"] > row["bytes"] / 2
    # Of processes of their own: LiteRT's is not that of this one, which holds TensorFlow.
    peaks = {key: row["startup"]["peak_memory_bytes"] for key, row in rows.items()}
    assert peaks["xception-int8.tflite@litert"] < 400e6 < peaks["model.h5@keras"]
    for row in rows.values():
        if row["artifact"] != "model.h5":
            assert row["throughput"]["images_per_second"] > 0
    assert rows["xception-int8.onnx@onnx"]["ran_on"] == "CPUExecutionProvider"
    assert rows["xception-int8.tflite@litert"]["ran_on"] == "XNNPACK"
    assert record["baseline"] == "model.h5@keras"
    assert [row["id"] for row in record["rows"] if row["winner"]] == [record["rows"][0]["id"]]
    assert record["rows"][0]["ratio_interval"][1] < 1
    assert record["rows"][0]["speed"] == "faster"
    assert {stage["stage"] for stage in record["from_files"]["stages"]} == {"decode", "resize", "inference", "whole"}
    assert record["machine"]["cores"] >= 1
    assert record["command"][:2] == ["cxr-edge", "bench"]
    assert str(small_run.folder) not in json.dumps({name: record[name] for name in record if name != "folder"})
    assert "times the speed of model.h5 on Keras" in record["conclusion"]


def test_markdown_and_csv_say_the_same(record: dict[str, Any]) -> None:
    folder = Path(record["folder"])
    text = (folder / "bench.markdown").read_text()
    assert text.splitlines()[0] == record["conclusion"]
    assert text.count("\n| ") >= 2 * len(record["rows"])
    with (folder / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row["id"] for row in record["rows"]]
    assert float(rows[0]["p50_ms"]) == record["rows"][0]["p50_ms"]
    assert float(rows[0]["startup.start_ms"]) == record["rows"][0]["startup"]["start_ms"]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(draw_phantom("Normal", 11, 300).pixels).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


def test_auto_takes_the_fastest_once_and_remembers_it(
    device: Path, picture: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    first = cli("predict", picture, "--bundle", device, "--json", tmp_path / "x.json")
    assert first.code == 0
    assert "using the fastest of" in first.out
    (kept,) = (tmp_path / "cache").glob("fastest-*.json")
    remembered = json.loads(kept.read_text())
    prediction = json.loads((tmp_path / "x.json").read_text())
    assert (prediction["artifact"], prediction["selection_note"] is not None) == (remembered["artifact"], True)
    second = cli("predict", picture, "--bundle", device, "--runtime", "auto")
    assert "using the fastest of" not in second.out
    assert second.out.splitlines()[0] == first.out.splitlines()[0]
    kept.write_text("{")
    assert "using the fastest of" in cli("predict", picture, "--bundle", device).out


def test_auto_skips_an_artifact_that_deviates_from_its_recorded_outputs(
    device: Path, picture: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    manifest = read_manifest(device)
    artifacts = [read_artifact(device / f"xception-int8.{kind}") for kind in ("tflite", "onnx")]
    # As if its outputs at export had been others: it is off on every runtime here.
    recorded = artifacts[0].reference
    others = replace(recorded, probabilities=((0.0, 0.0, 1.0),) * len(recorded.probabilities))
    artifacts[0] = resealed(artifacts[0], replace(artifacts[0].metadata, reference_outputs=others))
    write_manifest(device, manifest.shared, artifacts)
    result = cli("predict", picture, "--bundle", device)
    assert result.code == 0
    assert result.out.startswith("xception-int8.onnx")
    assert "tflite on LiteRT is off by" in result.out
    write_manifest(device, manifest.shared, artifacts[:1])
    result = cli("predict", picture, "--bundle", device)
    assert result.code == 3
    assert "computes what was recorded" in result.err


def test_a_failed_start_is_reported(tiny: Path, picture: Path) -> None:
    failed = startup(tiny / "xception-int8.onnx", "onnx:coreml", 1, picture, 1)
    assert isinstance(failed, DidNotStart)
    assert "coreml" in failed.reason


def test_a_failed_start_is_reported_without_the_names_of_folders(tmp_path: Path) -> None:
    failed = startup(tmp_path / "missing.onnx", "onnx", 1, tmp_path / "picture.png", 1)
    assert isinstance(failed, DidNotStart)
    assert "missing.onnx" in failed.reason
    assert str(tmp_path) not in failed.reason


def test_auto_says_when_it_cannot_measure(device: Path, picture: Path, cli: Cli, tmp_path: Path) -> None:
    alone = Path(shutil.copy(device / "xception-int8.onnx", tmp_path / "alone.onnx"))
    result = cli("predict", picture, "--artifact", alone)
    assert result.code == 0
    others = [
        runtime
        for runtime in every_runtime()
        if runtime.provider == "cpu" and "onnx" in runtime.formats and runtime.installed()
    ]
    assert ("using the first that is installed" in result.out) == (len(others) > 1)
