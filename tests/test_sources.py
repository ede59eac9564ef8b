"""Sources, by the database's own workbooks: held out of training, and a finding where they reveal the class."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from cxr_edge.auditing.sources import apart, compare_sources
from cxr_edge.data.layouts import find_data_set
from cxr_edge.data.sources import with_sources
from cxr_edge.errors import DataError
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.phantoms.drawing import LABELS
from cxr_edge.runs import Run
from tests.conftest import Cli

RSNA = "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"
CHILDREN = "https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 8, size=64)
    return folder


def workbook(path: Path, rows: list[tuple[str, str | None]]) -> None:
    """As the database has it, down to the case of its file names and the fragment of an address."""
    book = openpyxl.Workbook()
    book.active.append(["FILE NAME", "FORMAT", "SIZE", "URL"])
    for name, url in rows:
        book.active.append([name, "PNG", "256*256", url])
    book.save(path)


@pytest.fixture
def database(phantoms: Path, tmp_path: Path) -> Path:
    """The second release's layout: COVID-19 of its own sources, the other classes share one, Normal has one more."""
    root = tmp_path / "database"
    for label, folder in (("COVID-19", "COVID"), ("Viral Pneumonia",) * 2, ("Normal",) * 2):
        (root / folder / "images").mkdir(parents=True)
        for index, path in enumerate(sorted((phantoms / label).iterdir()), start=1):
            shutil.copy(path, root / folder / "images" / f"{folder}-{index}.png")
    numbers = range(1, 9)
    covid = ["https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#15908", "https://eurorad.org"]
    workbook(root / "COVID.metadata.xlsx", [(f"COVID-{index}", covid[index % 2]) for index in numbers])
    workbook(root / "Normal.metadata.xlsx", [(f"NORMAL-{index}", RSNA if index > 2 else CHILDREN) for index in numbers])
    workbook(root / "Viral Pneumonia.matadata.xlsx", [(f"Viral Pneumonia-{index}", CHILDREN) for index in numbers])
    return root


def test_sources_are_those_of_the_workbooks(database: Path) -> None:
    data = with_sources(find_data_set(database))
    sources = {item.path: item.source for item in data.items}
    assert sources["COVID/images/COVID-1.png"] == "https://eurorad.org"
    assert sources["COVID/images/COVID-2.png"] == "https://bimcv.cipf.es/bimcv-projects/bimcv-covid19"
    assert sources["Normal/images/Normal-3.png"] == RSNA
    assert sources["Viral Pneumonia/images/Viral Pneumonia-8.png"] == CHILDREN
    assert None not in sources.values()


def test_images_that_no_workbook_names_have_no_source(phantoms: Path, database: Path) -> None:
    assert with_sources(find_data_set(phantoms)) == find_data_set(phantoms)
    workbook(database / "Normal.metadata.xlsx", [("Normal-1", None), ("elsewhere", RSNA)])
    data = with_sources(find_data_set(database))
    assert {item.source for item in data.items if data.labels[item.label] == "Normal"} == {None}


def test_rows_of_a_workbook_may_be_shorter_than_its_header(database: Path) -> None:
    path = database / "Normal.metadata.xlsx"
    # Without the empty cells at the end, as some programs write it.
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    shorter = re.sub(rb'<dimension [^>]*/>|<c r="[B-D]9".*?</c>', b"", members[sheet])
    assert shorter != members[sheet]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, sheet: shorter}.items():
            archive.writestr(name, content)
    sources = {item.path: item.source for item in with_sources(find_data_set(database)).items}
    assert sources["Normal/images/Normal-8.png"] is None
    assert sources["Normal/images/Normal-7.png"] == RSNA


@pytest.mark.parametrize("damage", ["text", "columns", "empty"])
def test_a_damaged_workbook_is_named(database: Path, damage: str, cli: Cli) -> None:
    path = database / "COVID.metadata.xlsx"
    if damage == "text":
        path.write_text("no workbook")
    else:
        book = openpyxl.Workbook()
        if damage == "columns":
            book.active.append(["FILE NAME", "FORMAT"])
        book.save(path)
    with pytest.raises(DataError, match=r"COVID\.metadata\.xlsx"):
        with_sources(find_data_set(database))
    # It does not matter where no sources are needed.
    assert find_data_set(database).counts()["COVID-19"] == 8


@pytest.mark.slow
def test_a_source_of_a_workbook_is_held_out(database: Path, tmp_path: Path, started: Callable[..., Any]) -> None:
    held = "https://eurorad.org"
    result = started("--data", database, "--run", tmp_path / "run", "--hold-out-source", held)
    assert result.code == 0, result.err
    rows = [line.split(",") for line in (tmp_path / "run" / "split.csv").read_text().splitlines()]
    tested = {row[0] for row in rows if row[2] == "test"}
    assert tested == {f"COVID/images/COVID-{index}.png" for index in (1, 3, 5, 7)}
    # It is not said of a class whose sources are unknown, or shared.
    assert Run(tmp_path / "run").config().sources_apart == ("COVID-19",)
    other = started("--data", database, "--run", tmp_path / "other", "--hold-out-source", "eurorad")
    assert other.code == 2
    assert f"Choose one of https://bimcv.cipf.es/bimcv-projects/bimcv-covid19, {held}, {RSNA}, {CHILDREN}" in other.err


@pytest.mark.slow
def test_the_audit_reports_classes_that_share_no_source(database: Path, tmp_path: Path, cli: Cli) -> None:
    record, html = tmp_path / "audit.json", tmp_path / "audit.html"
    result = cli("audit", database, "--json", record, "--html", html, "--strict")
    assert result.code == 3
    audit = json.loads(record.read_text())
    sources = audit["sources"]
    assert sources["images_with_source"] == 24
    assert list(sources["sources"]) == [CHILDREN, RSNA, "https://bimcv.cipf.es/bimcv-projects/bimcv-covid19",
                                        "https://eurorad.org"]  # fmt: skip
    assert sources["sources"][CHILDREN] == {"COVID-19": 0, "Viral Pneumonia": 8, "Normal": 2}
    assert sources["shared"] == {"COVID-19": 0, "Viral Pneumonia": 1, "Normal": 0.25}
    texts = {finding["severity"]: finding["text"] for finding in audit["findings"] if finding["kind"] == "sources"}
    assert texts["serious"].startswith("no image of COVID-19 shares its source")
    assert texts["warning"].startswith("less than half of the images of Normal share")
    assert "eurorad" in result.out
    assert "eurorad" in html.read_text()


def test_an_unknown_source_is_refused_with_the_table_and_the_nearest_name(phantoms: Path) -> None:
    rows = [f"{label}/{path.name},{label},siteA" for label in LABELS for path in sorted((phantoms / label).iterdir())]
    (phantoms / "sites.csv").write_text("path,label,source\n" + "\n".join(rows) + "\n")
    data = find_data_set(phantoms / "sites.csv")
    (phantoms / "sites.csv").unlink()
    with pytest.raises(DataError, match=r"sites\.csv: no images of the source siteC; did you mean siteA\?"):
        data.hold_out("siteC")


def test_sources_shared_by_every_class_are_no_finding() -> None:
    labels = ("A", "B")
    images = [(labels[index % 2], f"s{index % 3}") for index in range(60)]
    comparison = compare_sources(images, labels)
    assert comparison.association == pytest.approx(0, abs=0.01)
    assert apart(comparison) == ([], [])
    # Nothing can be said of one class, or of no source.
    assert apart(compare_sources(images[::2], labels)) == ([], [])
    assert apart(compare_sources([("A", None), ("B", "")], labels)) == ([], [])
    named = [(labels[index % 2], f"s{index % 2}") for index in range(60)]
    assert compare_sources(named, labels).association == pytest.approx(1)
    assert apart(compare_sources(named, labels)) == (["A", "B"], [])
