"""Tables, predefined splits, any number of classes with any names, held-out sources, and folds."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.cache import _check_unchanged, decoded
from cxr_edge.data.columns import read_columns
from cxr_edge.data.layouts import PARTS, DataSet, find_data_set
from cxr_edge.data.split import Split, run_split
from cxr_edge.errors import DataError
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.runs import Run
from cxr_edge.runs.limits import limits
from cxr_edge.training.splitting import leaks, make_split
from tests.conftest import Cli, examined, split_of


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 20, size=64)
    return folder


def write_pictures(folder: Path, names: Iterable[str]) -> None:
    """Write a different small picture under each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(list(str(path).encode())).integers(0, 256, (64, 64))
        Image.fromarray(values.astype(np.uint8)).save(path)


def write_table(folder: Path, rows: Iterable[str], header: str = "path,label,patient_id,source,split") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / "images.csv"


def parts_by_patient(split: Split) -> dict[str, set[str]]:
    """The parts that hold images of each patient; an image without a patient stands for itself."""
    result = defaultdict(set)
    for item in split.items:
        result[item.patient or item.sha256].add(item.part)
    return result


def test_a_table_names_images_wherever_they_lie(phantoms: Path, tmp_path: Path) -> None:
    flat = tmp_path / "all images"
    flat.mkdir()
    rows = []
    for label in ("COVID-19", "Normal"):
        for index, path in enumerate(sorted((phantoms / label).iterdir())):
            shutil.copy(path, flat / f"{label} {index}.png")
            name = f"all images/{label} {index}.png" if index else str(flat / f"{label} {index}.png")
            rows.append(
                f'"{name}",{"covid" if label == "COVID-19" else "NORMAL"},{label}-{index // 2},site {index % 3},'
            )
    data = find_data_set(write_table(tmp_path, rows))
    assert data.labels == ("COVID-19", "Normal")
    assert data.folders == {"COVID-19": "covid", "Normal": "NORMAL"}
    assert data.counts() == {"COVID-19": 20, "Normal": 20}
    assert {item.source for item in data.items} == {"site 0", "site 1", "site 2"}
    split = split_of(data, 0)
    assert len(parts_by_patient(split)) == 20
    assert all(len(parts) == 1 for parts in parts_by_patient(split).values())
    assert decoded(split, "train", 71).shape == (len(split.part("train")), 71, 71, 1)


def test_column_aliases_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{label}{index}.png" for label in "ab" for index in range(3)])
    rows = [f"{label}{index}.png,{label},64" for label in "ab" for index in range(3)]
    table = write_table(tmp_path, rows, header="\ufeffFile,Class,width")
    assert find_data_set(table).counts() == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("header", "rows", "reason"),
    [
        ("path,finding", ["a.png,x"], "needs the columns path and label"),
        ("path,label", ["a.png,x", ",x"], "line 3: no path"),
        ("path,label", ["a.png,"], "line 2: no label"),
        ("path,label", ["a.png,x", "a.png,y"], "line 3: a.png is already in line 2"),
        ("path,label", ["a.png,x", "./a.png,y"], "line 3: ./a.png is already in line 2"),
        ("path,label,split", ["a.png,x,holdout"], "line 2: unknown split holdout"),
        ("path,label,split", ["a.png,x,train", "b.png,y,"], "empty for some images, such as b.png"),
        ("path,label", [f"{index}.png,x" for index in range(9)], "two class"),
    ],
)
def test_an_unusable_table_is_reported_with_the_reason(
    tmp_path: Path, header: str, rows: list[str], reason: str
) -> None:
    table = write_table(tmp_path, rows, header)
    with pytest.raises(DataError) as raised:
        find_data_set(table)
    assert str(raised.value).startswith(str(table))
    assert reason in str(raised.value)


def test_missing_and_wrongly_encoded_tables_are_reported(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"path,label\nM\xfcller.png,x\n")
    for name in ("x.csv", "gone.csv"):
        with pytest.raises(DataError, match=name):
            find_data_set(tmp_path / name)


def test_a_flat_folder_with_a_table_suggests_passing_the_table(tmp_path: Path) -> None:
    write_table(tmp_path, ["a.png,x"]).rename(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"pass .*labels\.csv"):
        find_data_set(tmp_path)


def write_parts(root: Path, parts: dict[str, str], images: int = 12) -> Path:
    for part, folder in parts.items():
        for label in ("NORMAL", "PNEUMONIA"):
            write_pictures(root, [f"{folder}/{label}/{part} {index}.png" for index in range(images)])
    return root


def test_predefined_parts_are_kept(tmp_path: Path) -> None:
    data = find_data_set(write_parts(tmp_path, {"train": "Train", "validation": "val", "test": "test"}))
    assert data.labels == ("Viral Pneumonia", "Normal")
    assert data.parts() == {"train": 24, "validation": 24, "test": 24}
    assert data.folders["Normal"] == "Train/NORMAL, val/NORMAL, test/NORMAL"
    split = split_of(data, 3)
    assert all(item.path.split("/")[2].startswith(item.part) for item in split.items)
    assert leaks(split, examined(data)) == []


@pytest.mark.parametrize("seed", range(4))
def test_missing_parts_are_drawn_from_the_training_part(tmp_path: Path, seed: int) -> None:
    root = write_parts(tmp_path, {"train": "train", "test": "test"}, images=20)
    patients = [f"train/{label}/train {index}.png,{label}{index // 2}" for label in ("NORMAL", "PNEUMONIA")
                for index in range(20)]  # fmt: skip
    (root / "patients.csv").write_text("\n".join(["path,patient_id", *patients]) + "\n")
    split = split_of(find_data_set(root), seed)
    assert {item.path.split("/")[0] for item in split.part("test")} == {"test"}
    assert len(split.part("test")) == 40
    # 15 % of the 40 of a class.
    assert np.bincount(split.targets("validation")).tolist() == [6, 6]
    assert {item.path.split("/")[0] for item in split.part("validation")} == {"train"}
    assert all(len(parts) == 1 for parts in parts_by_patient(split).values())


def test_overlap_between_predefined_parts_is_reported(tmp_path: Path) -> None:
    root = write_parts(tmp_path, {"train": "train", "test": "test"})
    shutil.copy(root / "train/NORMAL/train 0.png", root / "test/NORMAL/copy.png")
    patients = ["train/PNEUMONIA/train 1.png,p1", "test/PNEUMONIA/test 5.png,p1", "train/PNEUMONIA/train 2.png,p2"]
    (root / "patients.csv").write_text("\n".join(["path,patient_id", *patients]) + "\n")
    with Image.open(root / "train/NORMAL/train 3.png") as image:
        image.save(root / "test/NORMAL/saved again.jpg", quality=95)
    data = find_data_set(root)
    split = split_of(data, 0)
    assert leaks(split, examined(data)) == ["patient p1", "test/NORMAL/copy.png", "test/NORMAL/saved again.jpg"]
    # Overlapping images are not moved to a third part.
    assert "train/NORMAL/train 0.png" in {item.path for item in split.part("train")}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["a/0.png,p1", "a/0.png,p2"], "line 3: a/0.png is already in a line above"),
        (["a/0.png,p1", "./a/0.png,p1"], "line 3: a/0.png is already in a line above"),
        (["a/0.png,p1", "b\\0.png,p2"], "1 path is no file here, such as b\\0.png, and 7 images have no patient"),
        (["wrong/0.png,p1", "wrong/1.png,p1"], "2 paths are no files here, such as wrong/0.png, and 8 images"),
    ],
)
def test_patients_that_cannot_be_matched_with_images_are_refused(tmp_path: Path, rows: list[str], reason: str) -> None:
    write_pictures(tmp_path, [f"{label}/{index}.png" for label in "ab" for index in range(4)])
    (tmp_path / "patients.csv").write_text("\n".join(["path,patient_id", *rows]) + "\n")
    with pytest.raises(DataError) as raised:
        find_data_set(tmp_path)
    assert reason in str(raised.value)


def test_rows_of_removed_images_do_no_harm_where_every_image_has_a_patient(tmp_path: Path) -> None:
    names = [f"{label}/{index}.png" for label in "ab" for index in range(4)]
    write_pictures(tmp_path, names)
    rows = [f"./{name},p{index // 2},{'FM'[index % 2]}" for index, name in enumerate([*names, "b/removed.png"])]
    (tmp_path / "patients.csv").write_text("\n".join(["path,patient_id,sex", *rows]) + "\n")
    assert [item.patient for item in find_data_set(tmp_path).items] == [f"p{index // 2}" for index in range(8)]
    (column,) = read_columns(["sex"], tmp_path, None, names)
    assert column.values == ("F", "M") * 4


@pytest.mark.parametrize("parts", [{"train": "train", "validation": "val"}, {"train": "train", "test": "test"}])
def test_only_a_test_part_is_free_of_images_that_were_trained_on(tmp_path: Path, parts: dict[str, str]) -> None:
    data = find_data_set(write_parts(tmp_path, parts))
    if "test" in parts:
        assert {item.path.split("/")[0] for item in data.test_part().items} == {"test"}
    else:
        with pytest.raises(DataError, match="split into train and validation, without a test part"):
            data.test_part()


def test_only_a_predefined_test_part_may_lack_a_class(tmp_path: Path) -> None:
    root = write_parts(tmp_path, {"train": "train", "test": "test"})
    shutil.rmtree(root / "test/NORMAL")
    assert {item.label for item in split_of(find_data_set(root), 0).part("test")} == {"Viral Pneumonia"}
    write_parts(root, {"validation": "validation"})
    shutil.rmtree(root / "validation/NORMAL")
    with pytest.raises(DataError, match="Normal"):
        split_of(find_data_set(root), 0)


def test_a_split_column_predefines_the_parts(tmp_path: Path) -> None:
    rows = []
    for part in ("train", "VALID", "test"):
        names = [f"{part} {label}{index}.png" for label in "ab" for index in range(4)]
        write_pictures(tmp_path, names)
        rows += [f"{name},{name.split()[1][0]},,,{part}" for name in names]
    split = split_of(find_data_set(write_table(tmp_path, rows)), 0)
    assert [len(split.part(part)) for part in PARTS] == [8, 8, 8]
    assert {item.path.split()[0] for item in split.part("validation")} == {"VALID"}


def test_lung_opacity_is_read_when_it_is_asked_for(phantoms: Path, tmp_path: Path) -> None:
    for label, name in (("Normal", "Normal"), ("COVID-19", "COVID"), ("Viral Pneumonia", "Lung_Opacity")):
        shutil.copytree(phantoms / label, tmp_path / name / "images")
    assert find_data_set(tmp_path).labels == ("COVID-19", "Normal")
    data = find_data_set(tmp_path, include=["lung-opacity"])
    assert data.labels == ("COVID-19", "Normal", "Lung Opacity")
    assert data.left_out == ()
    assert find_data_set(tmp_path, labels=data.labels).counts()["Lung Opacity"] == 20
    assert find_data_set(tmp_path, labels=("COVID-19", "Normal")).left_out == ("Lung_Opacity",)
    with pytest.raises(DataError, match="effusion"):
        find_data_set(tmp_path, include=["effusion"])
    rows = [f"{path.relative_to(tmp_path)},{path.parts[-3]}" for path in tmp_path.rglob("*.png")]
    table = write_table(tmp_path, rows, "path,label")
    assert find_data_set(table).left_out == ("Lung_Opacity",)
    assert find_data_set(table, include=["Lung Opacity"]).labels == data.labels


@pytest.mark.parametrize("classes", [2, 5, 14])
def test_any_number_of_classes_of_any_name(tmp_path: Path, classes: int) -> None:
    names = [f"Befund {chr(97 + index)} 肺{index}" for index in range(classes)]
    write_pictures(tmp_path, [f"{name}/{index}.png" for name in names for index in range(7)])
    data = find_data_set(tmp_path)
    assert data.labels == tuple(names)
    split = split_of(data, 0)
    assert np.bincount(split.targets("test"), minlength=classes).tolist() == [1] * classes


def test_a_class_in_two_spellings_is_refused(tmp_path: Path) -> None:
    pictures = [f"{part}/{index}.png" for part in ("train/TB", "test/tb", "train/Normal") for index in range(4)]
    write_pictures(tmp_path / "parts", pictures)
    with pytest.raises(DataError, match="TB and tb are two spellings of one class"):
        find_data_set(tmp_path / "parts")
    rows = [f"{index}.png,{label}" for index, label in enumerate(("No mass", "no_mass", "mass") * 4)]
    with pytest.raises(DataError, match="No mass and no_mass are two spellings"):
        find_data_set(write_table(tmp_path, rows, "path,label"))
    rows = [f"{index}.png,{label}" for index, label in enumerate(("TB+", "TB-") * 4)]
    assert find_data_set(write_table(tmp_path, rows, "path,label")).labels == ("TB+", "TB-")


def test_a_link_to_a_folder_within_a_class_is_refused(phantoms: Path, tmp_path: Path) -> None:
    """Not followed, since it could lead in a circle, and not skipped without a word."""
    data = tmp_path / "data"
    data.mkdir()
    for folder in phantoms.iterdir():
        (data / folder.name).symlink_to(folder)
    assert len(find_data_set(data).items) == 60
    shutil.copytree(phantoms, tmp_path / "copy")
    (tmp_path / "copy" / "Normal" / "another site").symlink_to(phantoms / "Normal")
    with pytest.raises(DataError, match="another site: a link to a folder"):
        find_data_set(tmp_path / "copy")


def data_of_three_sources(tmp_path: Path) -> DataSet:
    rows = []
    for source in ("Valencia", "Guangzhou", "RSNA"):
        names = [f"{source}/{label}{index}.png" for label in "ab" for index in range(8)]
        write_pictures(tmp_path, names)
        rows += [f"{name},{name.split('/')[1][0]},{source}{index // 2},{source}," for index, name in enumerate(names)]
    return find_data_set(write_table(tmp_path, rows))


def test_one_source_is_held_out(tmp_path: Path) -> None:
    data = data_of_three_sources(tmp_path)
    split = split_of(data.hold_out("RSNA"), 0)
    assert {item.path.split("/")[0] for item in split.part("test")} == {"RSNA"}
    assert len(split.part("test")) == 16
    for part in ("train", "validation"):
        assert {item.path.split("/")[0] for item in split.part(part)} <= {"Valencia", "Guangzhou"}
        assert set(split.targets(part)) == {0, 1}
    with pytest.raises(DataError, match="Guangzhou, RSNA, Valencia"):
        data.hold_out("Essen")


def test_images_of_unknown_source_may_be_of_the_source_that_is_held_out(
    tmp_path: Path, started: Callable[..., Any]
) -> None:
    data_of_three_sources(tmp_path / "data")
    table = tmp_path / "data" / "images.csv"
    assert "source of" not in started("--data", table, "--run", tmp_path / "run", "--hold-out-source", "RSNA").out
    lines = table.read_text().replace(",Valencia,", ",,", 2)
    table.write_text(lines)
    result = started("--data", table, "--run", tmp_path / "some", "--hold-out-source", "RSNA")
    assert "the source of 2 images that the model is trained or selected on is unknown" in result.out
    assert any("The source of 2 training and validation" in line for line in limits(Run(tmp_path / "some").config()))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_folds_are_disjoint_and_cover_every_image(tmp_path: Path, count: int) -> None:
    data = data_of_three_sources(tmp_path)
    known = examined(data)
    splits = [make_split(data, known, 1, fold=(number, count)) for number in range(1, count + 1)]
    tested = [item.path for split in splits for item in split.part("test")]
    assert sorted(tested) == sorted(item.path for item in data.items)
    for split in splits:
        assert all(len(parts) == 1 for parts in parts_by_patient(split).values())
        assert abs(len(split.part("test")) - 48 / count) <= 4
        assert split == make_split(data, known, 1, fold=(splits.index(split) + 1, count))


def test_every_fold_is_refused_if_one_is_impossible(tmp_path: Path) -> None:
    write_pictures(tmp_path, [*(f"a/{index}.png" for index in range(4)), *(f"b/{index}.png" for index in range(12))])
    data = find_data_set(tmp_path)
    known = examined(data)
    assert make_split(data, known, 1, fold=(1, 4)).part("test")
    for number in range(1, 6):
        with pytest.raises(DataError, match="a has too few patients or distinct images"):
            make_split(data, known, 1, fold=(number, 5))


def test_incompatible_options_are_refused(phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    for arguments, word in (
        (["--fold", 3], "--folds"),
        (["--folds", 1], "--folds 1"),
        (["--folds", 3, "--fold", 4], "--fold 4"),
        (["--folds", 1, "--fold", 1], "--folds 1"),
        (["--folds", 3, "--fold", 1, "--hold-out-source", "x"], "--hold-out-source"),
        (["--hold-out-source", "Essen"], "column source"),
        (["--include", "effusion"], "effusion"),
    ):
        result = cli("train", "--data", phantoms, "--weights", "none", "--run", tmp_path / "run", *arguments)
        assert result.code == 2
        assert word in result.err
        assert not (tmp_path / "run").exists()
    assert cli("train", "--include", "lung-opacity", "--run", tmp_path / "run").code == 2


@pytest.mark.slow
@pytest.mark.usefixtures("instant_training")
def test_a_file_name_that_is_not_utf_8_is_named_before_anything_is_decoded(
    tmp_path: Path, started: Callable[..., Any]
) -> None:
    write_pictures(tmp_path / "data", [f"{label}/{index}.png" for label in "ab" for index in range(5)])
    try:
        os.rename(tmp_path / "data/a/0.png", os.fsencode(tmp_path / "data/a") + b"/R\xf6ntgen.png")
    except OSError:
        pytest.skip("a file system whose names are text")
    result = started("--data", tmp_path / "data", "--run", tmp_path / "run")
    assert result.code == 2
    assert r"'a/R\udcf6ntgen.png' is not UTF-8" in result.err
    assert "decoding" not in result.err
    assert not (tmp_path / "run").exists()


def test_train_on_a_table_shows_how_it_maps_labels(tmp_path: Path, cli: Cli) -> None:
    data_of_three_sources(tmp_path / "data")
    table = (tmp_path / "data" / "images.csv").read_text().replace(",a,", ",covid,").replace(",b,", ",Healthy,")
    (tmp_path / "data" / "images.csv").write_text(table)
    result = cli(
        "train", "--data", tmp_path / "data" / "images.csv", "--run", tmp_path / "run", "--weights", "none",
        "--image-size", "71", "--hold-out-source", "RSNA",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "covid -> COVID-19, 24 images" in result.out
    assert "Healthy -> Normal, 24 images" in result.out
    assert "16 test" in result.out
    run = Run(tmp_path / "run")
    assert run_split(run).root == tmp_path / "data"
    assert run.config().options.hold_out_source == "RSNA"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["remove", "alter"])
def test_a_changed_or_removed_file_is_detected_although_its_pixels_are_cached(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    root = Path(shutil.copytree(phantoms, tmp_path / "data"))
    split = split_of(find_data_set(root), 0)
    decoded(split, "test", 71)
    # As in a new process.
    _check_unchanged.cache_clear()
    victim = root / split.part("test")[0].path
    victim.unlink() if change == "remove" else victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(DataError, match=victim.name):
        decoded(split, "test", 71)
