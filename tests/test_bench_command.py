"""`bench` measures what is there, says what it leaves out, and compares with an earlier record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge import processors
from cxr_edge.benchmarking.bench import bench as run_bench
from cxr_edge.benchmarking.bench import measure
from cxr_edge.benchmarking.noise import Clock
from cxr_edge.benchmarking.options import BenchOptions
from cxr_edge.benchmarking.targets import ArtifactSource, Target, artifact_target
from cxr_edge.benchmarking.throughput import Throughput
from cxr_edge.errors import ProviderError
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import Runtime
from cxr_edge.runtimes.selection import select
from tests.conftest import Cli, Outcome
from tests.tiny_runs import write_run

Bench = Callable[..., tuple[Outcome, dict[str, Any]]]


@pytest.fixture
def bundle_copy(tiny: Path, tmp_path: Path) -> Path:
    """A bundle to change, on a device."""
    return Path(shutil.copytree(tiny, tmp_path / "bundle_copy"))


@pytest.fixture
def bench(cli: Cli, tmp_path: Path) -> Bench:
    """`bench("--bundle", folder)`: the outcome, and the record where there is one."""

    picture, output = tmp_path / "chest.png", tmp_path / "record.json"
    # Phantoms of a detector's size take longer than all else.
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(picture)

    def call(*arguments: object) -> tuple[Outcome, dict[str, Any]]:
        output.unlink(missing_ok=True)
        result = cli("bench", "--quick", "--images", picture, *arguments, "--json", output)
        return result, json.loads(output.read_text()) if output.is_file() else {}

    return call


def left_out(record: dict[str, Any]) -> set[str]:
    return {warning["subject"] for warning in record["warnings"] if warning["kind"] == "left out"}


@pytest.mark.slow
def test_an_incomplete_bundle_is_measured(bundle_copy: Path, bench: Bench) -> None:
    for path in bundle_copy.glob("*"):
        if path.name not in ("manifest.json", "xception-int8.tflite"):
            path.unlink()
    result, record = bench("--bundle", bundle_copy, "--runtime", "litert")
    assert result.code == 0, result.err
    assert [row["id"] for row in record["rows"]] == ["xception-int8.tflite@litert"]
    assert {"xception-int8.onnx", "xception-float32.tflite"} <= left_out(record)
    assert "xception-int8.onnx is not in the table" in result.out
    # Asked for by name, it is an error.
    result, _ = bench("--artifact", bundle_copy / "xception-int8.onnx")
    assert result.code == 2
    assert "xception-int8.onnx" in result.err
    (bundle_copy / "xception-int8.tflite").unlink()
    result, _ = bench("--bundle", bundle_copy)
    assert result.code == 2
    assert "none of the artifacts" in result.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_a_standalone_file_is_measured(tiny: Path, tmp_path: Path, bench: Bench, kind: str) -> None:
    alone = shutil.copy(tiny / f"xception-int8.{kind}", tmp_path / f"alone.{kind}")
    result, record = bench("--artifact", alone)
    assert result.code == 0, result.err
    assert {row["artifact"] for row in record["rows"]} == {f"alone.{kind}"}
    assert "keras" in left_out(record)
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{"avx2"}, {"avx2", "avx_vnni"}], ids=["without VNNI", "with VNNI"])
def test_a_runtime_whose_sums_saturate_here_is_doubtful(
    tiny: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch, flags: set[str]
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setattr(processors, "cpu_flags", lambda: flags)
    monkeypatch.setattr(processors.platform, "machine", lambda: "x86_64")
    result, record = bench("--artifact", tiny / "xception-int8.onnx", "--runtime", "openvino", "--runtime", "onnx")
    assert result.code == 0, result.err
    doubtful = [warning["subject"] for warning in record["warnings"] if warning["kind"] == "doubtful"]
    assert ("openvino" in doubtful) == ("avx_vnni" not in flags)


def test_files_are_named_one_by_one_or_by_their_bundle(tiny: Path, tmp_path: Path, bench: Bench) -> None:
    path = tiny / "xception-int8.onnx"
    assert bench("--artifact", path, "--bundle", tiny)[0].code == 2
    other = tmp_path / "other"
    other.mkdir()
    result, _ = bench("--artifact", path, "--artifact", shutil.copy(path, other))
    assert result.code == 2
    assert "two artifacts are called xception-int8.onnx" in result.err


def test_a_changed_file_is_an_error(bundle_copy: Path, bench: Bench) -> None:
    with (bundle_copy / "xception-int8.onnx").open("ab") as file:
        file.write(b"x")
    result, _ = bench("--bundle", bundle_copy)
    assert result.code == 2
    assert "SHA-256" in result.err


@pytest.mark.slow
def test_one_runtime_measures_only_its_formats(tiny: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "installed", lambda self: self.name == "litert")
    result, record = bench("--bundle", tiny)
    assert result.code == 0, result.err
    assert {row["artifact"] for row in record["rows"]} == {"xception-int8.tflite", "xception-float32.tflite"}
    assert {"xception-int8.onnx", "xception-float32.onnx"} <= left_out(record)
    monkeypatch.setattr(Runtime, "installed", lambda self: False)
    result, _ = bench("--bundle", tiny)
    assert result.code == 2
    assert "pip install" in result.err


@pytest.mark.slow
def test_a_sweep_has_a_row_per_number_of_threads(tiny: Path, bench: Bench, tmp_path: Path) -> None:
    arguments = ["--bundle", tiny, "--runtime", "litert"]
    result, record = bench(*arguments, "--threads", "1,2", "--baseline", "xception-float32.tflite")
    assert result.code == 0, result.err
    assert {(row["artifact"], row["threads"]) for row in record["rows"]} == {
        (f"xception-{name}.tflite", threads) for name in ("int8", "float32") for threads in (1, 2)
    }
    assert {row["baseline"] for row in record["rows"]} == {"xception-float32.tflite@litert"}
    assert max(len(line) for line in result.out.splitlines() if "LiteRT" in line and "x " in line) <= 100
    for wrong in (["--threads", "0"], ["--threads", "1,x"], ["--baseline", "x"], ["--compare", tmp_path]):
        assert bench(*arguments, *wrong)[0].code == 2


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_seconds_that_never_end_are_refused(tiny: Path, bench: Bench, seconds: str) -> None:
    result, _ = bench("--artifact", tiny / "xception-int8.onnx", "--seconds", seconds)
    assert result.code == 2
    assert f"--seconds {seconds}: must be a finite number" in result.err


@pytest.mark.slow
def test_only_throttling_during_the_latencies_is_noise(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled = 0

    def throttle(events: int) -> None:
        nonlocal throttled
        throttled += events

    def measured(*arguments: Any) -> None:
        throttle(1)
        measure(*arguments)

    def throughput(*arguments: Any) -> Throughput:
        throttle(100)
        return Throughput(1.0, "1 x 1 thread")

    monkeypatch.setattr("cxr_edge.benchmarking.bench.read_clock", lambda: Clock(throttled, None, None))
    monkeypatch.setattr("cxr_edge.benchmarking.bench.measure", measured)
    monkeypatch.setattr("cxr_edge.benchmarking.targets.throughput", throughput)
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(tmp_path / "chest.png")
    options = BenchOptions(("litert",), (tmp_path / "chest.png",), threads=(1, 2)).quickly()
    options = replace(options, throughput_seconds=0.1, folder_seconds=0.0)
    record = run_bench(select((tiny / "xception-int8.tflite",), None, None), options)
    # Once in each pass.
    assert "the CPU was throttled for heat 2 times" in record.noise.reasons


@pytest.mark.slow
def test_an_accelerator_that_fails_is_left_out_of_the_table(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime in place of an accelerator: in the latencies of one thread, and in the throughput of two."""

    class Failing(RemoteSession):
        def __init__(self, threads: int) -> None:
            self.threads = threads

        def timed_run(self, images: Any) -> Any:
            if self.threads == 1:
                raise ProviderError("onnx: its process has died")
            return np.zeros((len(images), 3), np.float32), 0.001

    def target_of(source: ArtifactSource, threads: int, images: Any) -> Target:
        target = artifact_target(source, threads, images)
        return (
            replace(target, candidate=replace(target.candidate, session=Failing(threads))) if onnx(source) else target
        )

    def throughput_of(source: ArtifactSource, images: Any, threads: int, seconds: float) -> Throughput:
        if onnx(source):
            raise ProviderError("onnx: out of memory")
        return Throughput(1.0, "1 x 1 thread")

    def onnx(source: ArtifactSource) -> bool:
        return source.runtime.name == "onnx_runtime"

    monkeypatch.setattr("cxr_edge.benchmarking.bench.artifact_target", target_of)
    monkeypatch.setattr(ArtifactSource, "throughput", throughput_of)
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(tmp_path / "chest.png")
    baseline = "xception-int8.tflite@litert"
    options = BenchOptions(("litert", "onnx"), (tmp_path / "chest.png",), threads=(1, 2), baseline=baseline).quickly()
    options = replace(options, throughput_seconds=0.1, folder_seconds=0.0)
    record = run_bench(select((), tiny, None), options)
    rows = {(row.id, row.threads): row for row in record.rows}
    assert not any(row.startswith("xception-int8.onnx") and threads == 1 for row, threads in rows)
    assert rows["xception-int8.onnx@onnx", 2].throughput is None
    assert rows[baseline, 2].throughput is not None
    texts = [warning.text for warning in record.warnings if warning.subject == "xception-int8.onnx@onnx"]
    assert any("failed while it was measured: onnx: its process has died" in text for text in texts)
    assert any("has no throughput: onnx: out of memory" in text for text in texts)
    single_thread = replace(options, threads=(1,))
    # Unless it was stated, another row takes the place of a baseline that failed.
    usual = run_bench(select((), tiny, None), replace(single_thread, runtimes=("onnx", "litert"), baseline=None))
    assert all(row.id.endswith("@litert") for row in usual.rows)
    for impossible in (
        replace(single_thread, baseline="xception-int8.onnx@onnx"),
        replace(single_thread, runtimes=("onnx",), baseline=None),
    ):
        with pytest.raises(ProviderError, match="has died"):
            run_bench(select((), tiny, None), impossible)


def test_a_record_of_another_machine_is_refused_before_anything_is_measured(
    tiny: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--artifact", tiny / "xception-int8.tflite", "--runtime", "litert"]
    _, record = bench(*arguments)
    record["machine"]["cpu"] = "another"
    (tmp_path / "old.json").write_text(json.dumps(record))
    monkeypatch.setattr("cxr_edge.benchmarking.bench.bench", None)
    result, _ = bench(*arguments, "--compare", tmp_path / "old.json")
    assert (result.code, "another machine" in result.err) == (2, True), result.err


def test_a_quick_record_replaces_only_one_that_is_quick_or_of_other_files(tmp_path: Path, bench: Bench) -> None:
    run = write_run(tmp_path / "run")
    assert bench("--run", run.folder, "--runtime", "litert")[0].code == 0
    thorough = json.loads(run.bench_file.read_text())
    others = [row | {"sha256": "0" * 64} for row in thorough["rows"]]
    for changes, is_kept in (({"quick": False}, True), ({"quick": False, "rows": others}, False), ({}, False)):
        run.bench_file.write_text(json.dumps(thorough | {"date": "2020-01-01T00:00:00+00:00"} | changes))
        assert bench("--run", run.folder, "--runtime", "litert")[0].code == 0
        assert (json.loads(run.bench_file.read_text())["date"] == "2020-01-01T00:00:00+00:00") == is_kept
    run.bench_file.write_text("damaged")
    assert bench("--run", run.folder, "--runtime", "litert")[0].code == 0
    assert json.loads(run.bench_file.read_text())["quick"]


@pytest.mark.slow
def test_compare_ends_with_status_3_where_something_became_slower(tiny: Path, bench: Bench, tmp_path: Path) -> None:
    arguments = ["--artifact", tiny / "xception-int8.tflite", "--runtime", "litert"]
    _, record = bench(*arguments)

    def against(factor: float, **machine: str) -> Outcome:
        old = json.loads(json.dumps(record))
        old["machine"] |= machine
        for row in old["rows"]:
            row["p50_ms"] *= factor
            row["rounds_ms"] = [factor * value for value in row["rounds_ms"]]
        (tmp_path / "old.json").write_text(json.dumps(old))
        return bench(*arguments, "--compare", tmp_path / "old.json")[0]

    result = against(0.001)
    assert result.code == 3
    assert "slower than the old record" in result.err
    assert against(1000).code == 0
    result = against(1, cpu="another")
    assert result.code == 2
    assert "another machine" in result.err


@pytest.mark.slow
def test_only_files_that_are_asked_for_are_written_beside_a_bundle(tiny: Path, bench: Bench) -> None:
    before = sorted(tiny.parent.rglob("*"))
    assert bench("--bundle", tiny, "--runtime", "litert")[0].code == 0
    assert sorted(tiny.parent.rglob("*")) == before


def test_images_that_cannot_be_read_are_left_out_and_named(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    films, output = tmp_path / "films", tmp_path / "x.json"
    films.mkdir()
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(films / "a.png")
    (films / "b.png").write_text("no image")
    arguments = ("bench", "--artifact", tiny / "xception-int8.onnx", "--runtime", "onnx", "--quick", "--images", films)
    result = cli(*arguments, "--json", output)
    assert result.code == 0, result.err
    record = json.loads(output.read_text())
    assert left_out(record) == {"b.png"}
    assert record["images"]["count"] == 1
    assert "b.png: not an image" in result.out
    # Records are shared with other people.
    assert str(films) not in output.read_text()
    (films / "a.png").unlink()
    result = cli(*arguments)
    assert result.code == 2
    assert str(films / "b.png") in result.err


@pytest.mark.slow
def test_no_folder_of_a_windows_path_is_in_the_record(
    tiny: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cxr_edge.benchmarking.bench.Path", PureWindowsPath)
    table = r"--markdown=C:\Users\ada\table.md"
    _, record = bench("--artifact", tiny / "xception-int8.onnx", "--runtime", "onnx", table)
    assert "--markdown=table.md" in record["command"]
