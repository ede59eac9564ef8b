"""Find what is to be audited: class folders, class folders within split folders, a table of labels, or a run."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.data.layouts import DataSet, find_data_set, read_patients
from cxr_edge.data.split import run_split
from cxr_edge.errors import DataError
from cxr_edge.runs import Run

LABEL_TABLE = "labels.csv"
#: Folder names that mean a part of a split.
PART_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_PATH_COLUMNS = ("path", "file", "filename", "image")


@dataclass(frozen=True)
class Image:
    """One image file: its path below the folder, its label, and where known its part of the split and its patient."""

    path: str
    label: str
    part: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Collection:
    """The images of a folder, its labels in order, how they were found, and folders that were passed over."""

    root: Path
    labels: tuple[str, ...]
    images: tuple[Image, ...]
    layout: str
    left_out: tuple[str, ...] = ()


def find_images(root: Path | None, run: Run | None) -> Collection:
    """The images below a folder, with the split of a run where one is given.

    Args:
        root: class folders as `train --data` takes them, `train/` and `test/` with class folders in them, or a folder
            with a `labels.csv` (`path,label`). None: the data of the run.
        run: whose `split.csv` names the parts.

    Raises:
        DataError: no such folder, no images, or a table that cannot be read.
        RunError: not a run folder.
    """
    if root is None:
        if run is None:
            raise DataError("name a folder of images, or a run with --run")
        split = run_split(run)
        images = tuple(Image(item.path, item.label, item.part, item.patient) for item in split.items)
        return Collection(split.root, split.labels, images, "the split of a run")
    if not root.is_dir():
        raise DataError(f"{root}: no such data folder")
    parts = {path.name: part for path in sorted(root.iterdir()) if (part := PART_FOLDERS.get(path.name.casefold()))}
    if (root / LABEL_TABLE).is_file():
        found = _labelled(root)
    elif parts:
        found = _parts(root, parts)
    else:
        found = _of(find_data_set(root, least=1), "class folders")
    if run is None:
        return found
    known = {item.path: item.part for item in run_split(run).items}
    if not any(image.path in known for image in found.images):
        raise DataError(f"{root}: none of its images is in the split of {run.folder}; leave one of the two out")
    images = tuple(replace(image, part=known.get(image.path, "")) for image in found.images)
    return replace(found, images=images, layout=f"{found.layout}, split of a run")


def _of(data: DataSet, layout: str) -> Collection:
    images = tuple(Image(item.path, data.labels[item.label], "", item.patient or "") for item in data.items)
    return Collection(data.root, data.labels, images, layout, data.left_out)


def _parts(root: Path, parts: dict[str, str]) -> Collection:
    patients = read_patients(root)
    labels: dict[str, None] = {}
    images: list[Image] = []
    left_out: list[str] = []
    for folder, part in parts.items():
        data = find_data_set(root / folder, least=1)
        labels.update(dict.fromkeys(data.labels))
        left_out += [f"{folder}/{name}" for name in data.left_out]
        for image in _of(data, "").images:
            path = f"{folder}/{image.path}"
            images.append(Image(path, image.label, part, patients.get(path, image.patient)))
    return Collection(root, tuple(labels), tuple(images), "split folders", tuple(left_out))


def _labelled(root: Path) -> Collection:
    table = root / LABEL_TABLE
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            path_column = next((name for name in _PATH_COLUMNS if name in columns), None)
            if path_column is None or "label" not in columns:
                raise DataError(f"{table}: needs the columns path and label")
            rows = [row for row in reader if row[path_column] and row["label"]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from None
    if not rows:
        raise DataError(f"{table}: names no image")
    patients = read_patients(root)
    images = []
    for row in rows:
        path = row[path_column]
        part = PART_FOLDERS.get((row.get("part") or row.get("split") or "").casefold(), "")
        images.append(Image(path, row["label"], part, row.get("patient_id") or patients.get(path, "")))
    return Collection(root, tuple(sorted({image.label for image in images})), tuple(images), LABEL_TABLE)
