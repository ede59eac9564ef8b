"""`evaluate --by`: figures per group of images, by columns of a table and by DICOM tags."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.columns import age_band
from cxr_edge.data.split import Split, SplitItem, write_split
from cxr_edge.files import sha256_of, write_json
from cxr_edge.intervals import wilson_interval
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from tests.artifacts import old_record, some_metadata
from tests.conftest import Cli
from tests.tiny import ramp

#: What a tiny artifact says of every picture that is not black.
CALLED = "COVID-19"
LABELS = ("COVID-19", "Viral Pneumonia", "Normal")


def write_table(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A table of pictures, and the pictures; each row has a label and other columns."""
    table = folder / "x-rays.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", *rows[0]])
        writer.writeheader()
        for index, row in enumerate(rows):
            Image.fromarray(ramp()).save(folder / f"{index}.png", compress_level=1)
            writer.writerow({"path": f"{index}.png", **row})
    return table


def some_rows() -> list[dict[str, str]]:
    """40 pictures of women, 35 of them recognized; 30 of men, 10 of them; 5 of nobody known, all of them."""
    women = [("F", CALLED)] * 35 + [("F", "Normal")] * 5
    men = [("M", CALLED)] * 10 + [("M", "Normal")] * 20
    return [
        {"label": label, "Sex": sex, "age": str(20 + index % 50)}
        for index, (sex, label) in enumerate([*women, *men, *[("", CALLED)] * 5])
    ]


def evaluated(cli: Cli, tiny: Path, table: Path, *columns: str) -> tuple[str, dict[str, Any]]:
    """What is printed, and the groupings by column."""
    output = table.parent / "x.json"
    options = [option for column in columns for option in ("--by", column)]
    artifact = tiny / "xception-float32.onnx"
    result = cli("evaluate", "--artifact", artifact, "--data", table, "--json", output, *options)
    assert result.code == 0, result.err
    return result.out, {grouping["by"]: grouping for grouping in json.loads(output.read_text())["groupings"]}


def test_each_group_has_its_figures_and_the_worst_is_named(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    out, groupings = evaluated(cli, tiny, write_table(tmp_path, some_rows()), "sex")
    women, men, unknown = groupings["sex"]["groups"]
    for group, name, images, right in ((women, "F", 40, 35), (men, "M", 30, 10), (unknown, "not stated", 5, 5)):
        interval = wilson_interval(right, images)
        assert (group["name"], group["images"], group["accuracy"]) == (name, images, right / images)
        assert group["accuracy_interval"] == [interval.low, interval.high]
    assert [own["images"] for own in men["classes"]] == [10, 0, 20]
    assert [own["sensitivity"] for own in men["classes"]] == [1.0, None, 0.0]
    assert [group["too_few"] for group in (women, men, unknown)] == [False, False, True]
    (worst,) = groupings["sex"]["worst"]
    assert (worst["group"], worst["label"], worst["distinct"]) == ("M", None, True)
    assert worst["others"] == 40 / 45
    assert "lowest accuracy: M, 33.3 %" in out and "lower than elsewhere" in out
    assert "not stated (too few)" in out


def test_tables_of_groups_fit_in_80_columns(
    tiny: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {**row, "source": f"https://example.org/{'a' * 60}/{index % 25:02d}"} for index, row in enumerate(some_rows())
    ]
    out, groupings = evaluated(cli, tiny, write_table(tmp_path, rows), "source")
    assert len(groupings["source"]["groups"]) == 25
    part = out[out.index("By source") :].splitlines()
    assert max(map(len, part)) <= 80
    assert "and 5 smaller groups; --json lists all of them" in out
    assert "no worst group: fewer than two groups have at least 30 images" in out


def test_ages_are_put_into_bands(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    _, groupings = evaluated(cli, tiny, write_table(tmp_path, some_rows()), "age", "sex")
    assert [group["name"] for group in groupings["age"]["groups"]] == ["18 to 39", "40 to 59", "60 to 79"]
    assert len(groupings["sex"]["groups"]) == 3


@pytest.mark.parametrize(
    ("age", "band"),
    [("045Y", "40 to 59"), ("006M", "0 to 17"), ("17.9", "0 to 17"), ("18", "18 to 39"), ("101", "80+"),
     ("40-49", "40-49"), ("", ""), ("adult", "adult")],
)  # fmt: skip
def test_the_band_of_an_age(age: str, band: str) -> None:
    assert age_band(age) == band


@pytest.mark.parametrize(
    ("column", "hint"),
    [("sexx", "did you mean Sex?"), ("path", "Choose one of Sex, age"), ("label", "Choose one of"),
     ("patient_id", "Choose one of"), ("PatientWeight", "no such column or DICOM tag")],
)  # fmt: skip
def test_an_unknown_column_is_refused_with_the_nearest(
    tiny: Path, cli: Cli, tmp_path: Path, column: str, hint: str
) -> None:
    rows = [{**row, "patient_id": f"p{index}"} for index, row in enumerate(some_rows()[34:36])]
    table = write_table(tmp_path, rows)
    result = cli("evaluate", "--artifact", tiny / "xception-float32.onnx", "--data", table, "--by", column)
    assert result.code == 2
    assert f"--by {column}: " in result.err and hint in result.err


def test_folders_have_the_columns_of_the_table_beside_them(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    artifact = tiny / "xception-float32.onnx"
    for label in ("COVID-19", "Normal"):
        (tmp_path / label).mkdir()
        Image.fromarray(ramp()).save(tmp_path / label / "x.png")
    refused = cli("evaluate", "--artifact", artifact, "--data", tmp_path, "--by", "view")
    assert refused.code == 2
    assert "only path, label and patient of the images are known" in refused.err
    (tmp_path / "patients.csv").write_text("path,patient_id,source,View\nCOVID-19/x.png,1,a,AP\nNormal/x.png,2,b,PA\n")
    _, groupings = evaluated(cli, tiny, tmp_path / ".", "view", "source")
    assert [group["name"] for group in groupings["view"]["groups"]] == ["AP", "PA"]
    assert [group["accuracy"] for group in groupings["source"]["groups"]] == [1.0, 0.0]


def test_dicom_tags_make_groups(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    for index, label in enumerate(("COVID-19", "COVID-19", "Normal")):
        (tmp_path / label).mkdir(exist_ok=True)
        tags = {} if index == 1 else {"PatientSex": "FM"[index > 0], "PatientAge": "061Y", "ViewPosition": "AP"}
        written(tmp_path / label / f"{index}.dcm", pixels, 8, Modality="DX", BodyPartExamined="CHEST", **tags)
    _, groupings = evaluated(cli, tiny, tmp_path / ".", "sex", "PatientAge", "view")
    names = {by: [group["name"] for group in grouping["groups"]] for by, grouping in groupings.items()}
    assert names == {
        "sex": ["F", "M", "not stated"],
        "PatientAge": ["60 to 79", "not stated"],
        "view": ["AP", "not stated"],
    }
    result = cli("evaluate", "--artifact", tiny / "xception-float32.onnx", "--data", tmp_path, "--by", "PatientAges")
    assert result.code == 2
    assert "sex, age, view, Modality, Manufacturer" in result.err


def test_the_test_split_has_the_columns_of_the_table_that_was_trained_on(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    rows = some_rows()
    table = write_table(tmp_path, rows)
    digest = sha256_of(tmp_path / "0.png")
    items = [
        SplitItem(f"{index}.png", row["label"], "train" if index < 2 else "test", "", digest)
        for index, row in enumerate(rows)
    ]
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    record = old_record("run.json")
    record["options"]["data"] = str(table)
    # The artifact must be one of this split.
    record["data_sha256"] = some_metadata().training.data_sha256
    write_json(run.config_file, to_json(RunConfig.from_json(record)))
    run.model_file.write_bytes(b"")
    write_split(Split(tmp_path, LABELS, tuple(items)), run.split_file)
    output = tmp_path / "x.json"
    artifact = tiny / "xception-float32.onnx"
    result = cli("evaluate", "--artifact", artifact, "--run", run.folder, "--by", "sex", "--json", output)
    assert result.code == 0, result.err
    (grouping,) = json.loads(output.read_text())["groupings"]
    assert [(group["name"], group["images"]) for group in grouping["groups"]] == [
        ("F", 38),
        ("M", 30),
        ("not stated", 5),
    ]
