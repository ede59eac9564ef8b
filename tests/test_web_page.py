"""The page in a browser: loaded, used, measured, offline, and what it answers against `cxr-edge predict`."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.web_speed import served
from cxr_edge.benchmarking.record import read_record
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.runs import Run
from tests.conftest import Cli, assert_same_answers
from tests.schemas import faults
from tests.web import (
    WEB,
    needs_browser,
    needs_page,
    needs_sources,
    served_plainly,
    used,
    write_web_bundle,
)

pytestmark = [needs_sources, needs_page, needs_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_web_bundle(tmp_path_factory.mktemp("web") / "own")


@pytest.fixture
def page(web_bundle: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(WEB)
    result = cli("web", "--bundle", web_bundle, "--output", tmp_path / "page")
    assert result.code == 0, result.err
    return tmp_path / "page"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of each format and of several sizes, one that gives a warning, and two that are refused."""
    folder = tmp_path / "files"
    folder.mkdir()
    for index, (suffix, size) in enumerate([("png", (300, 400)), ("jpg", (512, 480)), ("png", (71, 71))]):
        drawn = Image.fromarray(draw_phantom(LABELS[index], 40 + index, 128).pixels)
        drawn.resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}-phantom.{suffix}")
    Image.fromarray(np.tile(np.linspace(90, 250, 200).astype(np.uint8), (100, 1))).save(folder / "3-wide.png")
    Image.new("L", (90, 90)).save(folder / "4-black.png")
    (folder / "5-text.png").write_text("no image")
    try:
        from tests.test_dicom import written
    except pytest.skip.Exception:
        return sorted(folder.iterdir())
    written(folder / "6-ramp.dcm", np.linspace(0, 4095, 90 * 80).reshape(90, 80).astype(np.uint16), ViewPosition="LL")
    return sorted(folder.iterdir())


def test_answers_agree_with_predict(web_bundle: Path, page: Path, files: list[Path], cli: Cli, tmp_path: Path) -> None:
    with served(page) as url:
        seen = used(url, tmp_path, "load", "pick", "look", "accessibility", "dropAndPaste", "offline", files=files)
    assert seen["status"] == "Ready"
    assert seen["isolated"]
    assert "45 of 45 reference pictures" in seen["checks"]
    assert "computes what was validated" in seen["checks"]
    assert seen["hosts"] == [url.removeprefix("http://").rstrip("/")]
    assert not seen["console"]
    assert not seen["faults"]
    assert (seen["full"], seen["none"], seen["painted"]) == ("1", "0", True)
    assert "0-phantom.png" in seen["viewer"]
    assert [line.split("\n")[0] for line in seen["dropped"]] == ["drop.png", "paste.png"]
    assert len(seen["offline"]) == 3
    _compare(web_bundle, files, tmp_path / "downloads", cli, tmp_path / "predict.json")


def _compare(bundle: Path, files: list[Path], downloads: Path, cli: Cli, target: Path) -> None:
    artifact = bundle / "xception-int8.onnx"
    assert cli("predict", *files, "--artifact", artifact, "--runtime", "onnx", "--json", target).code == 0
    predicted, results = (json.loads(path.read_text()) for path in (target, downloads / "results.json"))
    assert not faults("predict", results)
    for key in ("artifact", "sha256", "labels", "operating_point", "warnings", "notice", "trained_on"):
        assert results[key] == predicted[key], key
    assert len(results["rows"]) == len(predicted["rows"])
    for row, expected in zip(results["rows"], predicted["rows"], strict=True):
        assert row["file"] == Path(expected["file"]).name
        assert (row["label"], row["decision"], row["warnings"]) == tuple(
            expected[key] for key in ("label", "decision", "warnings")
        )
        assert row["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    reasons = [skipped["reason"] for skipped in results["skipped"]]
    assert reasons[0] == predicted["skipped"][0]["reason"].replace(str(files[0].parent) + "/", "")
    assert "5-text.png" in reasons[1]
    with (downloads / "results.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["file", "label", "decision", *predicted["labels"], "warnings", "error"]
    assert len(lines) == 1 + len(files)


def test_webgpu_and_the_benchmark(page: Path, files: list[Path], tmp_path: Path) -> None:
    with served(page) as url:
        seen = used(url, tmp_path, "load", "benchmark", "pick", "webgpu", files=files[:3])
    assert "WebGPU" in seen["backends"]
    assert "45 of 45 reference pictures" in seen["webgpu"]
    assert "software, no GPU" in seen["webgpu"]
    assert not seen["console"]
    results = json.loads((tmp_path / "downloads" / "results.json").read_text())
    assert results["artifact"] == "xception-float32.onnx"
    assert "WebGPU" in results["ran_on"] and len(results["rows"]) == 3
    path = tmp_path / "downloads" / "bench.json"
    assert not faults("bench", json.loads(path.read_text()))
    record = read_record(path)
    assert {row.runtime for row in record.rows} == {"ONNX Runtime Web WebAssembly", "ONNX Runtime Web WebGPU"}
    assert all(row.queries >= 10 and row.p50_ms <= row.p90_ms for row in record.rows)
    assert record.conclusion


def test_a_plain_server_is_enough_for_threads(page: Path, tmp_path: Path) -> None:
    with served_plainly(page) as url:
        seen = used(url, tmp_path, "load", "offline")
    assert seen["isolated"]
    assert any("threads" in backend for backend in seen["backends"])
    assert not seen["console"]


@pytest.fixture
def smaller_page(web_bundle: Path, page: Path, cli: Cli, tmp_path: Path) -> Path:
    """The page of a bundle whose manifest does not know the model that `page` answers with."""
    bundle, folder = tmp_path / "smaller", tmp_path / "smaller-page"
    assert cli("bundle", "--bundle", web_bundle, "--only", "float32.onnx", "--output", bundle).code == 0
    assert cli("web", "--bundle", bundle, "--output", folder).code == 0
    return folder


@pytest.mark.parametrize("is_smaller_next", [True, False])
def test_a_new_model_replaces_the_cached_one(
    page: Path, smaller_page: Path, is_smaller_next: bool, tmp_path: Path
) -> None:
    pages = [(page, "xception-int8.onnx"), (smaller_page, "xception-float32.onnx")]
    (before, model), (after, next_model) = pages if is_smaller_next else reversed(pages)
    update = {"current": str(before), "next": str(after), "model": next_model}
    with served(before) as url:
        seen = used(url, tmp_path, "load", "update", "offline", **update)
    assert model in seen["checks"]
    assert "computes what was validated" in seen["updated"]
    assert len(seen["offline"]) == 3
    assert not seen["console"]


def test_a_later_schema_replaces_the_cached_page(page: Path, smaller_page: Path, tmp_path: Path) -> None:
    record = smaller_page / "page.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema": 2}))
    script = smaller_page / "page.js"
    later, changed = re.subn(r"(\.schema!==)1\b", r"\g<1>2", script.read_text())
    assert changed == 1
    script.write_text(later)
    update = {"current": str(page), "next": str(smaller_page), "model": "xception-float32.onnx"}
    for file in filter(Path.is_file, page.rglob("*")):
        # A browser that is told nothing else takes old files as fresh for a tenth of their age.
        os.utime(file, (0, 0))
    with served_plainly(page) as url:
        seen = used(url, tmp_path, "load", "update", **update)
    assert "computes what was validated" in seen["updated"]


def test_two_pages_on_one_server_keep_their_own_offline_copies(page: Path, smaller_page: Path, tmp_path: Path) -> None:
    earlier, other = "cxr-edge-0123456789abcdef", "cxr-edge-of-somebody-else"
    with served_plainly(tmp_path) as url:
        first, second = (f"{url}{folder.name}/" for folder in (page, smaller_page))
        seen = used(first, tmp_path, "load", "neighbour", "offline", neighbour=second, caches=[earlier, other])
    assert "xception-int8.onnx" in seen["checks"]
    assert "xception-float32.onnx" in seen["neighbour"]
    # Over a plain server, each page reloads once for this.
    assert seen["isolated"] and seen["neighbourIsolated"]
    assert len(seen["offline"]) == 3
    assert other in seen["caches"] and earlier not in seen["caches"]
    assert not seen["console"]


def test_a_model_that_does_not_match_the_manifest_is_refused(page: Path, tmp_path: Path) -> None:
    model = page / "model" / "xception-int8.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with served(page) as url:
        seen = used(url, tmp_path, "load")
    assert seen["status"].startswith("No model: model/xception-int8.onnx: refused")


def test_answers_that_differ_from_the_recorded_ones_give_a_warning(page: Path, tmp_path: Path) -> None:
    path = page / "model" / "manifest.json"
    manifest = json.loads(path.read_text())
    for artifact in manifest["artifacts"]:
        artifact["reference_outputs"]["probabilities"][0].reverse()
    path.write_text(json.dumps(manifest))
    with served(page) as url:
        seen = used(url, tmp_path, "load")
    assert "does not compute what was validated" in seen["checks"]
    assert "do not use its answers" in seen["warnings"][0]


def test_two_hundred_phantoms_get_the_classes_of_predict(
    bundle: Path, run: Run, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(WEB)
    files = sorted((run.folder / "phantoms").rglob("*.png"))[::2][:200]
    assert cli("web", "--bundle", bundle, "--output", tmp_path / "page").code == 0
    with served(tmp_path / "page") as url:
        seen = used(url, tmp_path, "load", "pick", files=files)
    assert "computes what was validated" in seen["checks"]
    results = json.loads((tmp_path / "downloads" / "results.json").read_text())
    artifact, target = bundle / results["artifact"], tmp_path / "predict.json"
    assert cli("predict", *files, "--artifact", artifact, "--runtime", "onnx", "--json", target).code == 0
    on_page, predicted = (
        np.float32([row["probabilities"] for row in record["rows"]])
        for record in (results, json.loads(target.read_text()))
    )
    print(f"largest difference of a probability on {len(files)} phantoms: {np.abs(on_page - predicted).max():.4f}")
    assert len(on_page) == len(files) == 200
    assert_same_answers(bundle, on_page, predicted)
