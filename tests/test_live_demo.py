"""The live demo of the site: the page that `make docs` trains a small network for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxr_edge.phantoms.drawing import LABELS
from documentation import live_demo
from tests.conftest import Cli
from tests.web import needs_browser, needs_sources, served_plainly, used, write_web_bundle

needs_demo = pytest.mark.skipif(
    not (live_demo.LIVE_DEMO / "page.json").is_file(), reason="needs make docs, after make web"
)


def test_the_network_is_a_fraction_of_xception() -> None:
    assert live_demo.fraction_of_xception(71) > 20


def test_the_site_links_to_the_demo_if_it_was_built(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mkdocs", reason="needs the packages of make docs")
    from documentation import site_hooks

    text = (Path(__file__).parents[1] / "docs" / "web.md").read_text(encoding="utf-8")
    files, config, page = ([], {}, None)
    monkeypatch.setattr(site_hooks, "LIVE_DEMO", tmp_path / "live-demo")
    assert site_hooks.on_page_markdown(text, page, config, files) == text  # type: ignore[arg-type]
    bundle = write_web_bundle(tmp_path / "bundle")
    model = tmp_path / "live-demo" / "model"
    assert cli("bundle", "--bundle", bundle, "--only", "int8.onnx", "--output", model).code == 0
    shown = site_hooks.on_page_markdown(text, page, config, files)  # type: ignore[arg-type]
    assert "make web docs" not in shown
    assert "(live-demo/index.html)" in shown and "on phantoms" in shown


@pytest.mark.slow
@needs_sources
@needs_browser
@needs_demo
def test_the_demo_answers_in_a_browser_and_says_what_it_is(tmp_path: Path) -> None:
    shutil.copytree(live_demo.LIVE_DEMO, tmp_path / "site" / "live-demo")
    with served_plainly(tmp_path / "site") as url:
        seen = used(f"{url}live-demo/", tmp_path, "load", "offline")
    assert seen["status"] == "Ready" and seen["isolated"]
    assert "computes what was validated" in seen["checks"]
    assert "is a demo" in seen["warnings"][0] and "phantoms" in seen["warnings"][1]
    assert not seen["console"]
    assert seen["hosts"] == [url.removeprefix("http://").rstrip("/")]
    # One phantom of each class, each with a predicted class and its probability.
    assert len(seen["offline"]) == len(LABELS)
    assert all("%" in line for line in seen["offline"])
