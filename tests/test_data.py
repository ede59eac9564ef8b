"""Layouts, splits and the decoded cache."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.data.cache import decoded
from cxr_edge.data.layouts import PARTS, find_data_set
from cxr_edge.data.split import read_split, write_split
from cxr_edge.errors import DataError
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.training.splitting import make_split
from tests.conftest import examined, split_of


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 12, size=64)
    return folder


def arranged(phantoms: Path, root: Path, folders: dict[str, str]) -> Path:
    for label, name in folders.items():
        shutil.copytree(phantoms / label, root / name)
    return root


LAYOUTS = {
    "first release": {"COVID-19": "COVID-19", "Viral Pneumonia": "Viral Pneumonia", "Normal": "NORMAL"},
    "second release": {
        "COVID-19": "COVID/images",
        "Viral Pneumonia": "Viral Pneumonia/images",
        "Normal": "Normal/images",
    },
    "plain": {"COVID-19": "covid", "Viral Pneumonia": "viral_pneumonia", "Normal": "normal"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_labels_in_the_same_order(phantoms: Path, tmp_path: Path, layout: str) -> None:
    root = arranged(phantoms, tmp_path, LAYOUTS[layout])
    (root / "README.txt").write_text("not an image")
    data = find_data_set(root)
    assert data.labels == ("COVID-19", "Viral Pneumonia", "Normal")
    assert list(data.counts().values()) == [12, 12, 12]


def test_masks_and_lung_opacity_are_left_out(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, LAYOUTS["second release"])
    shutil.copytree(phantoms / "Normal", root / "Normal/masks")
    shutil.copytree(phantoms / "Normal", root / "Lung_Opacity/images")
    data = find_data_set(root)
    assert data.counts()["Normal"] == 12
    assert data.left_out == ("Lung_Opacity",)


def test_other_class_names_are_taken_as_they_are(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {"Normal": "clear", "COVID-19": "effusion"})
    assert find_data_set(root).labels == ("clear", "effusion")


def test_two_folders_of_one_meaning_are_refused(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {"Normal": "Normal", "COVID-19": "healthy"})
    with pytest.raises(DataError, match=r"healthy.*Normal|Normal.*healthy"):
        find_data_set(root)


def test_split_is_stratified_and_the_same_for_the_same_seed(phantoms: Path) -> None:
    data = find_data_set(phantoms)
    known = examined(data)
    split = make_split(data, known, seed=4, validation=0.25, test=0.25)
    assert split == make_split(data, known, seed=4, validation=0.25, test=0.25)
    assert split != make_split(data, known, seed=5, validation=0.25, test=0.25)
    for part, images in zip(PARTS, (6, 3, 3), strict=True):
        assert np.bincount(split.targets(part)).tolist() == [images] * 3


def test_patients_and_copies_stay_on_one_side(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {label: label for label in ("COVID-19", "Viral Pneumonia", "Normal")})
    pneumonia = sorted((root / "Viral Pneumonia").iterdir())
    rows = [f"Viral Pneumonia/{path.name},patient{index // 2}" for index, path in enumerate(pneumonia)]
    (root / "patients.csv").write_text("path,patient_id\n" + "\n".join(rows) + "\n")
    normal = sorted((root / "Normal").iterdir())
    shutil.copy(normal[0], root / "Normal" / "copy.png")
    data = find_data_set(root)
    known = examined(data)
    for seed in range(5):
        split = make_split(data, known, seed, validation=0.25, test=0.25)
        sides = defaultdict(set)
        for item in split.items:
            sides[item.patient or item.sha256].add(item.part)
        assert all(len(parts) == 1 for parts in sides.values())
        assert len(sides) < len(split.items)


def test_patients_that_name_no_image_are_an_error(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {"Normal": "Normal", "COVID-19": "COVID-19"})
    (root / "patients.csv").write_text("path,patient_id\nNormal\\elsewhere.png,p1\n")
    with pytest.raises(DataError, match=r"patients\.csv"):
        find_data_set(root)
    (root / "patients.csv").write_bytes(b"path,patient_id\nNormal/M\xfcller.png,p1\n")
    with pytest.raises(DataError, match=r"patients\.csv"):
        find_data_set(root)


def test_an_empty_folder_of_any_name_is_an_empty_class(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {"Normal": "Normal", "COVID-19": "COVID-19"})
    (root / "effusion").mkdir()
    with pytest.raises(DataError, match=r"effusion.*no images"):
        find_data_set(root)


@pytest.mark.real_data
def test_real_patients_stay_on_one_side() -> None:
    if "CXR_EDGE_DATA" not in os.environ:
        pytest.skip("CXR_EDGE_DATA does not name a copy of the COVID-19 Radiography Database")
    data = find_data_set(Path(os.environ["CXR_EDGE_DATA"]))
    assert data.labels == ("COVID-19", "Viral Pneumonia", "Normal")
    split = split_of(data, 0)
    sides = defaultdict(set)
    for item in split.items:
        sides[item.patient or item.sha256].add(item.part)
    assert all(len(parts) == 1 for parts in sides.values())


def test_one_image_under_two_labels_is_refused(phantoms: Path, tmp_path: Path) -> None:
    root = arranged(phantoms, tmp_path, {"Normal": "Normal", "COVID-19": "COVID-19"})
    shutil.copy(next((root / "Normal").iterdir()), root / "COVID-19" / "twin.png")
    with pytest.raises(DataError, match=r"twin\.png"):
        split_of(find_data_set(root), 0)


def test_split_round_trips(phantoms: Path, tmp_path: Path) -> None:
    split = split_of(find_data_set(phantoms), 0)
    write_split(split, tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", phantoms, split.labels) == split
    (tmp_path / "split.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"split\.csv"):
        read_split(tmp_path / "split.csv", phantoms, split.labels)


def test_an_image_changed_after_the_split_is_noticed(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    root = arranged(phantoms, tmp_path / "data", {"Normal": "Normal", "COVID-19": "COVID-19"})
    split = split_of(find_data_set(root), 0)
    victim = root / split.part("train")[0].path
    victim.write_bytes(victim.read_bytes() + b"changed")
    with pytest.raises(DataError, match=victim.name):
        decoded(split, "train", 71)
