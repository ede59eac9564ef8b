"""Images of one DICOM patient stay in one part, and the ID is never written; needs the `dicom` extra."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.layouts import PARTS, DataSet, find_data_set
from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import load_image
from cxr_edge.training.splitting import leaks, make_split
from tests.conftest import Cli, examined, split_of

pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
from tests.test_dicom import written

PIXELS = np.random.default_rng(0)
#: Such an ID is found wherever it was written to.
SECRET = "MRN-4711"


def picture(path: Path, **tags: Any) -> Path:
    """A small DICOM picture of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return written(path, PIXELS.integers(0, 256, (64, 64)).astype(np.uint8), 8, **tags)


def hospital(root: Path, images: int = 20) -> Path:
    """Two classes, two images per patient, who may have both labels."""
    for label in ("a", "b"):
        for index in range(images):
            number = index // 2 if index < 4 else f"{label}{index // 2}"
            picture(root / label / f"IM{index:04d}", PatientID=f"{SECRET}-{number}")
    return root


def together(data: DataSet) -> set[frozenset[str]]:
    """The paths of each patient's images."""
    result = defaultdict(set)
    for item in data.items:
        result[item.patient or item.path].add(item.path)
    return {frozenset(paths) for paths in result.values()}


def test_images_of_one_patient_stay_in_one_part(tmp_path: Path) -> None:
    data = find_data_set(hospital(tmp_path))
    assert len(together(data)) == 18
    assert frozenset({"a/IM0000", "a/IM0001", "b/IM0000", "b/IM0001"}) in together(data)
    assert data.patients_doubt is None
    known = examined(data)
    for seed in range(5):
        sides = defaultdict(set)
        for item in make_split(data, known, seed).items:
            sides[item.patient].add(item.part)
        assert len(sides) == 18
        assert all(len(parts) == 1 for parts in sides.values())
    # In the order of the files, and for the same files the same.
    assert [item.patient for item in data.items[:3]] == ["dicom-0001", "dicom-0001", "dicom-0002"]
    assert find_data_set(tmp_path) == data


@pytest.mark.slow
@pytest.mark.usefixtures("instant_training")
def test_the_id_is_written_nowhere(tmp_path: Path, cli: Cli) -> None:
    root = hospital(tmp_path / "data")
    for part in PARTS:
        hospital(tmp_path / "parts" / part)
    for data in (root, tmp_path / "parts"):
        run = tmp_path / f"run of {data.name}"
        result = cli("train", "--data", data, "--run", run, "--weights", "none", "--image-size", "71")
        assert result.code == 0, result.err
        assert f"the patients of {40 if data == root else 120} images are known" in result.out
        audited = cli("audit", data, "--json", tmp_path / "audit.json", "--html", tmp_path / "audit.html")
        assert audited.code == 0, audited.err
        files = [path for path in run.rglob("*") if path.is_file()] + [tmp_path / "audit.json", tmp_path / "audit.html"]
        texts = [path.read_bytes().decode(errors="replace") for path in files]
        for text in (*texts, result.out, result.err, audited.out, audited.err):
            assert SECRET not in text
    assert "patients, or images with copies, in several parts: 18 (patient dicom-0001" in result.out
    patients = json.loads((tmp_path / "audit.json").read_text())["patients"]
    assert patients["images_with_patient"] == 120
    assert len(patients["across_parts"]) == 18


def test_one_id_from_two_issuers_means_two_patients(tmp_path: Path) -> None:
    for index in range(6):
        for label in ("a", "b"):
            issuer = {"IssuerOfPatientID": "north" if index % 2 else "south"} if index > 1 else {}
            picture(tmp_path / label / f"{index}.dcm", PatientID=f"{label} " if index < 4 else "c", **issuer)
    rows = {frozenset(path for path in paths) for paths in together(find_data_set(tmp_path))}
    assert frozenset({"a/0.dcm", "a/1.dcm"}) in rows
    assert {frozenset({"a/2.dcm"}), frozenset({"a/3.dcm"})} <= rows
    assert {frozenset({"a/4.dcm", "b/4.dcm"}), frozenset({"a/5.dcm", "b/5.dcm"})} <= rows


def anonymous() -> Iterator[tuple[str, list[dict[str, str]], str]]:
    """Name, tags of the images of each class after de-identification, and what the warning says."""
    yield "constant", [{"PatientID": "ANONYMOUS", "PatientIdentityRemoved": "YES"}] * 10, "20 with one ID for more than"
    yield "empty", [{"PatientID": " "}] * 5 + [{}] * 5, "20 without an ID"
    yield "of the class", [{"PatientID": "0 CLASS"}] * 6 + [{"PatientID": f"x{i}"} for i in range(4)], "12 with one ID"
    # A third of each class, but of women and men.
    rest = [{"PatientID": f"x{index}"} for index in range(6)]
    yield "mixed", [{"PatientID": "ANON", "PatientSex": sex} for sex in "FMMF"] + rest, "8 with one ID for both sexes"


@pytest.mark.slow
@pytest.mark.parametrize(("tags", "doubt"), [case[1:] for case in anonymous()], ids=[case[0] for case in anonymous()])
def test_a_placeholder_id_groups_no_images(tmp_path: Path, tags: list[dict[str, str]], doubt: str) -> None:
    for label in ("a", "b"):
        for index, template in enumerate(tags):
            values = {name: value.replace("CLASS", label).replace("x", label) for name, value in template.items()}
            picture(tmp_path / label / f"{index}.dcm", **values)
    data = find_data_set(tmp_path)
    assert all(len(paths) == 1 for paths in together(data))
    assert doubt in (data.patients_doubt or "")
    assert "of 20 DICOM images" in (data.patients_doubt or "")
    assert "patients.csv" in (data.patients_doubt or "")
    split_of(data, 0)


@pytest.mark.usefixtures("instant_training")
def test_train_warns_of_placeholder_ids(tmp_path: Path, cli: Cli) -> None:
    for index in range(16):
        picture(tmp_path / "data" / "ab"[index % 2] / f"{index}.dcm", PatientID=SECRET)
    result = cli("train", "--data", tmp_path / "data", "--run", tmp_path / "run", "--weights", "none")
    assert result.code == 0, result.err
    assert "no patients are named" in result.out
    assert "warning: the PatientID of 16 of 16 DICOM images identifies no patient" in result.out
    assert SECRET not in result.out


def test_an_id_shared_by_a_few_images_is_not_a_placeholder(tmp_path: Path) -> None:
    hospital(tmp_path)
    for index in range(6):
        picture(tmp_path / "a" / f"series {index}", PatientID="often here", PatientSex="F")
    (tmp_path / "c").mkdir()
    for index in range(3):
        Image.fromarray(PIXELS.integers(0, 256, (64, 64)).astype(np.uint8)).save(tmp_path / "c" / f"{index}.png")
    # The only DICOM image of its class.
    picture(tmp_path / "c" / "3", PatientID="often here", PatientSex="")
    data = find_data_set(tmp_path)
    assert frozenset({f"a/series {index}" for index in range(6)} | {"c/3"}) in together(data)
    assert data.patients_doubt is None


def test_tables_take_precedence_over_dicom_ids(tmp_path: Path) -> None:
    hospital(tmp_path)
    (tmp_path / "patients.csv").write_text("path,patient_id\na/IM0000,p1\nb/IM0019,p1\n")
    patients = {item.path: item.patient for item in find_data_set(tmp_path).items}
    # Files with the PatientID of a file that the table names are of its patient.
    assert {path for path, name in patients.items() if name == "p1"} == {
        *("a/IM0000", "a/IM0001", "b/IM0000", "b/IM0001", "b/IM0018", "b/IM0019")
    }
    rows = [f"{path},{path[0]},{'p2' if path == 'a/IM0003' else ''}" for path in sorted(patients)]
    (tmp_path / "images.csv").write_text("path,label,patient_id\n" + "\n".join(rows) + "\n")
    patients = {item.path: item.patient for item in find_data_set(tmp_path / "images.csv").items}
    assert patients["a/IM0002"] == patients["a/IM0003"] == patients["b/IM0002"] == "p2"
    assert patients["a/IM0000"] == patients["b/IM0000"] == "dicom-0001"


def test_patient_ids_are_not_read_without_a_split_or_from_files_with_another_suffix(tmp_path: Path) -> None:
    hospital(tmp_path)
    (tmp_path / "a" / "IM0000").rename(tmp_path / "a" / "IM0000.png")
    assert [item.path for item in find_data_set(tmp_path).items if item.patient is None] == ["a/IM0000.png"]
    assert not any(item.patient for item in find_data_set(tmp_path, labels=("a", "b")).items)


def test_a_damaged_header_is_left_for_decoding_to_report(tmp_path: Path) -> None:
    hospital(tmp_path)
    whole = (tmp_path / "a" / "IM0000").read_bytes()
    for length in (132, 141, 300):
        (tmp_path / "a" / f"cut {length}").write_bytes(whole[:length])
    (tmp_path / "a" / "text.dcm").write_text("not DICOM")
    data = find_data_set(tmp_path)
    assert len(data.items) == 44
    assert {item.path for item in data.items if item.patient is None} >= {"a/cut 132", "a/cut 141", "a/text.dcm"}
    assert len([item for item in data.items if item.path.startswith("a/IM") and item.patient]) == 20
    for name in ("cut 132", "cut 141", "cut 300", "text.dcm"):
        with pytest.raises(ImageError, match=name):
            load_image(tmp_path / "a" / name, 71)


def test_without_pydicom_the_layout_is_found(tmp_path: Path) -> None:
    hospital(tmp_path)
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pathlib import Path; from cxr_edge.data.layouts import find_data_set\n"
        f"data = find_data_set(Path({str(tmp_path)!r})); print(len(data.items), data.patients_doubt)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["40", "None"]


@pytest.mark.slow
def test_given_parts_with_one_patient_in_both_are_named(tmp_path: Path) -> None:
    for part in PARTS:
        hospital(tmp_path / part)
    data = find_data_set(tmp_path)
    named = [name for name in leaks(split_of(data, 0), examined(data)) if name.startswith("patient")]
    assert len(named) == 18
    assert named[0] == "patient dicom-0001"
