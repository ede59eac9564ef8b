"""The images of the printed tables are picked from a database by their pictures, or drawn anew by a seed."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from benchmarks.first_release import __main__ as first_release
from benchmarks.first_release.__main__ import Listed, drawn, read_list, write
from cxr_edge.data.fingerprint import perceptual_hash
from cxr_edge.errors import DataError, OptionError
from cxr_edge.phantoms.drawing import draw_phantom

FOLDERS = {"COVID": "COVID-19", "Normal": "Normal", "Viral Pneumonia": "Viral Pneumonia"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Three pictures per class, larger than those of the list, beside masks."""
    for folder, label in FOLDERS.items():
        (tmp_path / "database" / folder / "images").mkdir(parents=True)
        (tmp_path / "database" / folder / "masks").mkdir()
        for index in range(3):
            pixels = draw_phantom(label, index, 299).pixels
            Image.fromarray(pixels).save(tmp_path / "database" / folder / "images" / f"{folder}-{index}.png")
    return tmp_path / "database"


def listed(folder: str, index: int, patient: str = "") -> Listed:
    """By the same picture at 256 pixels."""
    grey = Image.fromarray(draw_phantom(FOLDERS[folder], index, 299).pixels).resize((256, 256))
    return Listed(f"{folder}/images/{folder}-{index}.png", perceptual_hash(grey), patient)


def test_the_list_has_the_class_sizes_of_the_first_release() -> None:
    images = read_list()
    assert Counter(PurePosixPath(image.path).parts[0] for image in images) == {
        "COVID": 219, "Normal": 1341, "Viral Pneumonia": 1120,
    }  # fmt: skip
    assert len({image.path for image in images}) == 2680
    assert {PurePosixPath(image.path).parts[0] for image in images if image.patient} == {"Viral Pneumonia"}


def test_patients_of_the_list_are_numbered_and_not_named() -> None:
    """In the order in which they appear, so that a number says nothing but which images are of one patient."""
    numbers = list(dict.fromkeys(image.patient for image in read_list() if image.patient))
    assert numbers == [str(number + 1) for number in range(927)]


def test_pictures_are_known_at_another_size(database: Path, tmp_path: Path) -> None:
    images = [listed("COVID", 1), listed("Normal", 0), listed("Viral Pneumonia", 2, "person1")]
    write(database, images, tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert files == {image.path for image in images}
    with (tmp_path / "out" / "patients.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"path": images[2].path, "patient_id": "person1"}]
    with pytest.raises(OptionError, match="already exists"):
        write(database, images, tmp_path / "out")


def test_another_picture_and_a_missing_one_are_named(database: Path, tmp_path: Path) -> None:
    swapped = Listed("COVID/images/COVID-0.png", listed("Normal", 1).hash, "")
    with pytest.raises(DataError, match=r"2 of 2 images.*COVID-0\.png: shows another.*COVID-7\.png: is not there"):
        write(database, [swapped, Listed("COVID/images/COVID-7.png", 0, "")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_seed_draws_the_same_class_sizes(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"COVID": 1, "Normal": 2}
    first = drawn(database, sizes, 0)
    assert first == drawn(database, sizes, 0)
    assert any(first != drawn(database, sizes, seed) for seed in range(1, 6))
    with pytest.raises(DataError, match="3 images, of which 4"):
        drawn(database, {"COVID": 4}, 0)
    monkeypatch.setattr(first_release, "read_list", lambda: [listed("COVID", 1), listed("Normal", 0)])
    monkeypatch.setattr("sys.argv", ["first_release", str(database), str(tmp_path / "out"), "--seed", "3"])
    assert first_release.main() == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
