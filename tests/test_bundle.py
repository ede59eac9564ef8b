"""A bundle is trusted only where its manifest and the files it lists agree."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge import ArtifactError, Classifier
from cxr_edge.artifacts.artifact import METADATA_ENTRY, read_artifact
from cxr_edge.artifacts.bundle import MANIFEST, read_bundle
from tests.conftest import Cli


@pytest.fixture
def bundle_copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(np.arange(80 * 80).reshape(80, 80).astype(np.uint8)).save(path)
    return path


def swap_labels(manifest: dict[str, Any]) -> None:
    manifest["shared"]["labels"].reverse()


def call_everything_covid(manifest: dict[str, Any]) -> None:
    for entry in manifest["artifacts"]:
        entry["operating_point"] = {"label": "COVID-19", "threshold": -1}


def pass_the_gate(manifest: dict[str, Any]) -> None:
    for entry in manifest["artifacts"]:
        entry["parity"] = {"verdict": "passed"}


@pytest.mark.parametrize(
    ("change", "field"),
    [(swap_labels, "labels"), (call_everything_covid, "operating_point"), (pass_the_gate, "parity")],
)
def test_a_manifest_that_contradicts_its_files_is_refused(
    bundle_copy: Path, cli: Cli, picture: Path, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    path = bundle_copy / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"differ in .*{field}"):
        read_bundle(bundle_copy)
    for opened in (bundle_copy, bundle_copy / "xception-int8.tflite"):
        with pytest.raises(ArtifactError, match=field):
            Classifier.open(opened, "litert")
    result = cli("predict", picture, "--bundle", bundle_copy, "--runtime", "litert")
    assert result.code == 2
    assert field in result.err and "copy the bundle again" in result.err


def test_metadata_that_would_fill_the_memory_is_not_unpacked(bundle_copy: Path) -> None:
    path = bundle_copy / "xception-int8.tflite"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(METADATA_ENTRY, b" " * (64 << 20))
    with pytest.raises(ArtifactError, match="unpacks to 67108864 bytes"):
        read_artifact(path)
