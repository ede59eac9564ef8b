"""The benchmark that compares the answers of the page with those of the package."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.web_answers import COPIES, Case, Seen, cases_in, compared, measured, some_images
from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.errors import ArtifactError
from cxr_edge.imaging.decode import open_grey, resized
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.prediction.prediction import Prediction, SkippedImage
from tests.web import CHROMIUM, NODE, WEB, needs_browser, needs_page, needs_sources, write_web_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms of each class, half of them JPEG."""
    folder = tmp_path_factory.mktemp("phantoms")
    for index, path in enumerate(write_phantoms(folder, 6, size=64)):
        if index % 2:
            Image.open(path).save(path.with_suffix(".jpg"))
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return read_artifact(write_web_bundle(tmp_path_factory.mktemp("web") / "bundle") / "xception-int8.onnx")


def test_a_small_folder_gives_all_its_images_and_the_others_the_rest(folder: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    for label in ("COVID-19", "Normal"):
        (small / label).mkdir(parents=True)
        for path in sorted((folder / label).iterdir())[:3]:
            shutil.copy(path, small / label)
    selected = some_images([folder, small], 14, seed=0)
    assert len(set(selected)) == 14
    assert sum(small in path.parents for path in selected) == 6
    assert selected == some_images([folder, small], 14, seed=0) != some_images([folder, small], 14, seed=1)


def test_only_png_files_get_a_jpeg_copy(folder: Path, tmp_path: Path) -> None:
    cases = cases_in(tmp_path, some_images([folder], 8, seed=0))
    kinds = [case.kind for case in cases]
    assert kinds.count(COPIES) == kinds.count("PNG") > 0
    assert len({case.file for case in cases}) == len(cases)


def answer(*probabilities: float) -> Prediction:
    label = ("COVID-19", "Normal")[int(np.argmax(probabilities))]
    return Prediction(file=None, label=label, decision=None, probabilities=probabilities)


def test_a_row_counts_what_is_the_same_and_keeps_the_largest_difference(artifact: Artifact, folder: Path) -> None:
    file = next((folder / "Normal").glob("*.png"))
    grey = open_grey(file)
    digest = hashlib.sha256(np.asarray(grey).tobytes()).hexdigest()
    right = resized(grey, artifact.image_size, "stretch").tobytes()
    case = Case(file, "PNG")
    same = Seen(digest, 0, 0.0, {"label": "Normal", "probabilities": [0.25, 0.75]})
    other = Seen("another", 7, 0.5, {"label": "COVID-19", "probabilities": [0.75, 0.25]})
    row = compared(
        "PNG",
        artifact,
        [
            (case, same, right, answer(0.25, 0.75)),
            (case, other, b"", answer(0.25, 0.75)),
            (case, Seen(None, None, None, None), None, SkippedImage("", "")),
        ],
    )
    assert (row.images, row.refused) == (2, 1)
    assert row.same_decoded == row.same_resized == row.same_top == row.browser_decoder_same == 1
    assert row.margin_where_top_differs == 0.5
    assert row.largest_difference == 0.5 and row.mean_difference == 0.25
    assert (row.browser_decoder_largest, row.browser_decoder_mean) == (7, 0.5)


def test_a_file_that_only_one_side_refuses_is_an_error(artifact: Artifact, folder: Path) -> None:
    case = Case(next((folder / "Normal").glob("*.png")), "PNG")
    with pytest.raises(ArtifactError, match="refused by one"):
        compared("PNG", artifact, [(case, Seen(None, None, None, None), None, answer(0.25, 0.75))])


@pytest.mark.exhaustive
@needs_sources
@needs_page
@needs_browser
def test_the_page_agrees_with_the_package(
    artifact: Artifact, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(WEB)
    record = measured(artifact, some_images([folder], 6, seed=0), tmp_path, str(NODE), str(CHROMIUM))
    assert record["browser"].startswith("Chromium")
    for row in record["rows"]:
        assert (
            row["images"] == row["same_decoded"] == row["same_resized"] == row["same_top"] == row["same_decision"] > 0
        )
        assert row["refused"] == 0
        assert row["largest_difference"] < 1e-5
