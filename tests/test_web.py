"""`cxr-edge web`: the folder, its server, and what is refused."""

from __future__ import annotations

import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.files import sha256_of, write_json
from cxr_edge.web.folder import write_page
from cxr_edge.web.page import built_page
from cxr_edge.web.server import PageServer
from tests.conftest import Cli
from tests.web import write_web_bundle

#: A file of ONNX Runtime Web, as web/build.mjs names it.
FOR_WEBGPU = "ort/ort.webgpu.min.mjs"


@pytest.fixture(scope="module")
def web_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_web_bundle(tmp_path_factory.mktemp("web") / "bundle")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a page of three files, in place of the one that takes Node.js to build."""
    package = tmp_path / "site" / "cxr_edge_web"
    (package / "page" / "ort").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    (package / "page" / "index.html").write_text(f"<!doctype html>{policy}")
    files = ("index.html", "ort/ort.mjs", FOR_WEBGPU)
    for name in files[1:]:
        (package / "page" / name).write_text("export {};")
    write_json(
        package / "files.json",
        [
            {
                "file": name,
                "bytes": (package / "page" / name).stat().st_size,
                "sha256": sha256_of(package / "page" / name),
            }
            for name in files
        ],
    )
    monkeypatch.syspath_prepend(package.parent)
    return package


def test_the_folder_holds_the_page_two_models_and_phantoms(
    cli: Cli, web_bundle: Path, stand_in: Path, tmp_path: Path
) -> None:
    result = cli("web", "--bundle", web_bundle, "--output", tmp_path / "page")
    assert result.code == 0, result.err
    assert "uses xception-int8.onnx; xception-float32.onnx for WebGPU" in result.out
    page = json.loads((tmp_path / "page" / "page.json").read_text())
    assert [model["file"] for model in page["models"]] == ["xception-int8.onnx", "xception-float32.onnx"]
    assert [model["tolerance"] for model in page["models"]] == [0.05, 0.001]
    assert all((tmp_path / "page" / "examples" / name).is_file() for name in page["examples"])
    assert (tmp_path / "page" / "ort" / "ort.mjs").is_file() and (tmp_path / "page" / FOR_WEBGPU).is_file()
    # A complete bundle, which the command line can read too.
    assert len(read_bundle(tmp_path / "page" / "model")) == 2
    again = cli("web", "--bundle", web_bundle, "--output", tmp_path / "page")
    assert again.code == 2 and "already exists" in again.err


def test_different_content_has_a_different_version(cli: Cli, web_bundle: Path, stand_in: Path, tmp_path: Path) -> None:
    smaller = tmp_path / "smaller"
    assert cli("bundle", "--bundle", web_bundle, "--only", "int8.onnx", "--output", smaller).code == 0
    for name, bundle in (("a", web_bundle), ("b", web_bundle), ("c", smaller)):
        assert cli("web", "--bundle", bundle, "--output", tmp_path / name).code == 0
    versions = [json.loads((tmp_path / name / "page.json").read_text())["version"] for name in "abc"]
    assert versions[0] == versions[1] != versions[2]
    # int8 does not run on WebGPU.
    assert (tmp_path / "c" / "ort" / "ort.mjs").is_file() and not (tmp_path / "c" / FOR_WEBGPU).exists()


def test_further_warnings_come_before_those_about_the_model(web_bundle: Path, stand_in: Path, tmp_path: Path) -> None:
    write_page(built_page(), (read_bundle(web_bundle)[0],), tmp_path / "page", ("a demo",))
    warnings = json.loads((tmp_path / "page" / "page.json").read_text())["models"][0]["warnings"]
    assert warnings[0] == "a demo" and "phantoms" in warnings[1]


def test_a_missing_page_is_an_error_that_names_the_fix(
    cli: Cli, web_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.web.page.PACKAGE", "no_such_package")
    result = cli("web", "--bundle", web_bundle, "--output", tmp_path / "page")
    assert result.code == 2
    assert "make web" in result.err
    assert not (tmp_path / "page").exists()


def test_a_page_that_was_changed_is_refused(cli: Cli, web_bundle: Path, stand_in: Path, tmp_path: Path) -> None:
    (stand_in / "page" / "ort" / "ort.mjs").write_text("fetch('elsewhere')")
    result = cli("web", "--bundle", web_bundle, "--output", tmp_path / "page")
    assert result.code == 2
    assert "changed since the page was built" in result.err


def test_either_out_or_serve_is_required(cli: Cli, web_bundle: Path) -> None:
    result = cli("web", "--bundle", web_bundle)
    assert result.code == 2
    assert "--output DIR" in result.err and "--serve" in result.err


def test_a_bundle_without_onnx_is_refused(cli: Cli, tiny: Path, stand_in: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny, bundle)
    for path in bundle.glob("*.onnx"):
        path.unlink()
    result = cli("web", "--bundle", bundle, "--output", tmp_path / "page")
    assert result.code == 2
    assert "no ONNX file" in result.err


@pytest.fixture
def served(stand_in: Path) -> Iterator[str]:
    server = PageServer(stand_in / "page", 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server.url
    server.close()
    thread.join()


def test_the_server_isolates_the_page_and_holds_it_to_its_policy(served: str) -> None:
    with urllib.request.urlopen(f"{served}ort/ort.mjs") as response:
        assert response.headers["Content-Type"] == "text/javascript"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'"
    assert served.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_named(cli: Cli, web_bundle: Path, stand_in: Path, served: str) -> None:
    port = served.rstrip("/").rpartition(":")[2]
    result = cli("web", "--bundle", web_bundle, "--serve", "--port", port)
    assert result.code == 2
    assert f"--port {port}" in result.err
