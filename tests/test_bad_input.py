"""Bad input of every kind: named with its reason, and never more than the file it is in."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.decode import decode_all
from cxr_edge.data.layouts import find_data_set, image_files
from cxr_edge.errors import DataError, ImageError
from cxr_edge.imaging.decode import load_image
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.runs import Run
from cxr_edge.runs.progress import Progress
from cxr_edge.train_options import completed
from cxr_edge.training.jobs import train_new
from cxr_edge.training.result import TrainingResult
from tests.conftest import Cli, know_everything


def _picture() -> Image.Image:
    return Image.fromarray(draw_phantom("Normal", 3, 96).pixels)


def _truncated(path: Path) -> None:
    _picture().save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _bomb(path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(path)


def _no_pixels(path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from pydicom.data import get_testdata_file

    shutil.copy(str(get_testdata_file("test-SR.dcm", download=False)), path)


#: Of each kind: a name, how it comes about, and what its message must say.
KINDS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "truncated": ("x.png", _truncated, "truncated"),
    "text": ("x.png", lambda path: path.write_text("not an image"), "not an image"),
    "empty": ("x.jpg", Path.touch, "empty"),
    "bomb": ("x.png", _bomb, "bomb"),
    "one pixel": ("x.png", lambda path: Image.new("L", (1, 1)).save(path), "1 x 1 pixels"),
    "broken link": ("x.png", lambda path: path.symlink_to(path.parent / "gone.png"), "no such file"),
    "folder": ("x.png", Path.mkdir, "directory"),
    "DICOM without pixels": ("x.dcm", _no_pixels, "without an image"),
    "text for DICOM": ("x.dcm", lambda path: path.write_text("DICM"), "not a DICOM file"),
    "spaces": ("a chest of 2020.png", lambda path: path.write_text("no"), "not an image"),
    "other letters": ("Brust Müller 肺.png", lambda path: path.write_text("no"), "not an image"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, kind: str) -> None:
    name, make, reason = KINDS[kind]
    make(tmp_path / name)
    with pytest.raises(ImageError) as raised:
        load_image(tmp_path / name, 71)
    assert str(raised.value).startswith(f"{tmp_path / name}: ")
    assert reason in str(raised.value)


def test_garbage_after_the_end_of_a_jpeg_does_no_harm(tmp_path: Path) -> None:
    _picture().save(tmp_path / "x.jpg")
    shutil.copy(tmp_path / "x.jpg", tmp_path / "y.jpg")
    with (tmp_path / "y.jpg").open("ab") as file:
        file.write(bytes(range(256)) * 40)
    assert np.array_equal(load_image(tmp_path / "x.jpg", 71), load_image(tmp_path / "y.jpg", 71))


def test_names_with_spaces_and_other_letters_are_read(tmp_path: Path) -> None:
    for name in ("a chest of 2020.png", "Brust Müller 肺.png", "-x;'$.png"):
        _picture().save(tmp_path / name)
        assert load_image(tmp_path / name, 96).any()
    assert len(image_files(tmp_path)) == 3


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    write_phantoms(tmp_path, 4, size=64)
    (tmp_path / "Normal").chmod(0)
    try:
        with pytest.raises(DataError, match=r"Normal: this folder cannot be read"):
            find_data_set(tmp_path)
    finally:
        (tmp_path / "Normal").chmod(0o755)


def test_a_broken_link_to_a_class_is_not_left_out(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 4, size=64)
    (tmp_path / "Lung cancer").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="Lung cancer"):
        find_data_set(tmp_path)


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    paths = []
    for index, (name, make, _) in enumerate(KINDS.values()):
        (tmp_path / str(index)).mkdir()
        try:
            make(tmp_path / str(index) / name)
        except pytest.skip.Exception:
            continue
        _picture().save(tmp_path / str(index) / "good.png")
        paths += [tmp_path / str(index) / name, tmp_path / str(index) / "good.png"]
    images = np.zeros((len(paths), 71, 71, 1), np.uint8)
    bad = decode_all(paths, 71, images)
    assert sorted(bad) == list(range(0, len(paths), 2))
    assert all(np.array_equal(images[index], images[1]) for index in range(1, len(paths), 2))


@pytest.mark.slow
def test_train_leaves_bad_images_out_and_says_so(tmp_path: Path, started: Callable[..., Any]) -> None:
    data = tmp_path / "data"
    write_phantoms(data, 12, size=64)
    begin = time.monotonic()
    for index in range(2000):
        (data / "Normal" / f"empty {index:04}.png").touch()
    (data / "COVID-19" / "broken.png").symlink_to(tmp_path / "gone.png")
    result = started("--data", data, "--run", tmp_path / "run")
    assert result.code == 0, result.err
    assert time.monotonic() - begin < 60
    assert "Normal -> Normal, 2012 images" in result.out
    assert result.out.index("Normal -> Normal") < result.out.index("warning: 2001 images")
    assert "broken.png: no such file" in result.out
    assert "and 1991 more" in result.out
    config = Run(tmp_path / "run").config()
    assert len(config.skipped) == 2001
    assert config.skipped[-1].path == "Normal/empty 1999.png"
    assert config.images == {"COVID-19": 12, "Viral Pneumonia": 12, "Normal": 12}
    assert "empty" not in (tmp_path / "run" / "split.csv").read_text()

    refused = started("--data", data, "--run", tmp_path / "other", "--on-bad-image", "fail")
    assert refused.code == 2
    assert "2001 of 2037 images" in refused.err
    assert "broken.png" in refused.err
    assert not (tmp_path / "other").exists()
    assert started("--data", data, "--on-bad-image", "ignore").code == 2


def test_a_class_left_with_too_few_images_is_named(tmp_path: Path, started: Callable[..., Any]) -> None:
    write_phantoms(tmp_path / "data", 5, size=64)
    for path in sorted((tmp_path / "data" / "Normal").iterdir())[:3]:
        path.write_bytes(b"")
    result = started("--data", tmp_path / "data", "--run", tmp_path / "run")
    assert result.code == 2
    assert "Normal: images left: 2; each class needs" in result.err
    assert "empty" in result.err
    assert not (tmp_path / "run").exists()


class ClosedPipe(Progress):
    """Whoever was to read the result is gone."""

    def run_finished(self, result: TrainingResult) -> None:
        raise BrokenPipeError("Broken pipe")


@pytest.mark.slow
def test_a_finished_run_is_kept_even_if_its_result_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finished(run: Run, progress: Progress) -> TrainingResult:
        run.model_file.write_bytes(b"weeks of work")
        return know_everything(run)

    monkeypatch.setattr("cxr_edge.training.train.train", finished)
    write_phantoms(tmp_path / "data", 5, size=64)
    options = completed({"data": str(tmp_path / "data"), "weights": "none", "image_size": 71})
    with pytest.raises(BrokenPipeError):
        train_new(Run(tmp_path / "run"), options, ClosedPipe())
    assert Run(tmp_path / "run").model_file.read_bytes() == b"weeks of work"


@pytest.mark.slow
def test_what_training_decoded_is_not_decoded_again(
    tmp_path: Path, started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_edge.data.cache import decoded
    from cxr_edge.data.split import run_split

    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    write_phantoms(tmp_path / "data", 6, size=64)
    assert started("--data", tmp_path / "data", "--run", tmp_path / "run").code == 0
    split = run_split(Run(tmp_path / "run"))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr("cxr_edge.imaging.decode.open_grey", None)
    images_by_part = {}
    for part in ("train", "validation", "test"):
        images_by_part[part] = np.asarray(decoded(split, part, 71))
    monkeypatch.undo()
    for part, images in images_by_part.items():
        for item, image in zip(split.part(part), images, strict=True):
            assert np.array_equal(image[..., 0], load_image(tmp_path / "data" / item.path, 71))


def test_evaluate_refuses_bad_images_unless_asked_to_leave_them_out(device: Path, cli: Cli, tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "x.json"
    write_phantoms(data, 4, size=64)
    (data / "Normal" / "text.png").write_text("not an image")
    arguments = ("evaluate", "--artifact", device / "xception-int8.onnx", "--data", data)
    refused = cli(*arguments)
    assert refused.code == 2
    assert "text.png" in refused.err
    result = cli(*arguments, "--on-bad-image", "skip", "--json", output)
    assert result.code == 0
    assert "text.png" in result.out
    record = json.loads(output.read_text())
    assert record["images"] == 12
    assert [image["path"] for image in record["skipped"]] == ["Normal/text.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("instant_training")
def test_train_reports_the_number_of_duplicated_pictures(tmp_path: Path, cli: Cli) -> None:
    data = tmp_path / "data"
    write_phantoms(data, 6, size=64)
    first, second = sorted((data / "Normal").iterdir())[:2]
    shutil.copy(first, data / "Normal" / "again.png")
    with Image.open(second) as image:
        image.save(data / "Normal" / "saved again.jpg", quality=80)
    result = cli("train", "--data", data, "--weights", "none", "--image-size", 71, "--run", tmp_path / "run")
    assert result.code == 0, result.err
    assert "2 pictures are in the data more than once; copies stay in one part of the split" in result.out
