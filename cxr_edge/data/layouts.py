"""Find the classes and images of a data set folder, whichever of the known layouts it has."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import DataError

#: The order of the classes in every artifact trained on them.
DEFAULT_LABELS = ("COVID-19", "Viral Pneumonia", "Normal")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
MIN_IMAGES_PER_CLASS = 3

_SYNONYMS = {
    "covid": "COVID-19",
    "covid19": "COVID-19",
    "viralpneumonia": "Viral Pneumonia",
    "pneumonia": "Viral Pneumonia",
    "normal": "Normal",
    "healthy": "Normal",
}
#: The fourth class of the COVID-19 Radiography Database's second release.
_LEFT_OUT = {"lungopacity"}


@dataclass(frozen=True)
class Item:
    """One image: its path relative to the data set folder, the index of its label, its patient where known."""

    path: str
    label: int
    patient: str | None


@dataclass(frozen=True)
class DataSet:
    """A folder of images in classes. `folders` maps each label to the folder it was read from."""

    root: Path
    labels: tuple[str, ...]
    items: tuple[Item, ...]
    folders: dict[str, str]
    left_out: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Images a label, in the order of the labels."""
        found = Counter(item.label for item in self.items)
        return {label: found[index] for index, label in enumerate(self.labels)}


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _images_in(folder: Path) -> list[Path]:
    """Image files of a class folder; of its `images/` alone where it has one (its `masks/` are not X-rays)."""
    inner = folder / "images"
    return sorted(
        path
        for path in (inner if inner.is_dir() else folder).rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _label_folders(root: Path) -> tuple[dict[str, Path], list[str]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    known: dict[str, Path] = {}
    unknown = []
    for folder in folders:
        label = _SYNONYMS.get(_key(folder.name))
        if label is None:
            unknown.append(folder)
        elif label in known:
            raise DataError(f"{root}: {known[label].name}/ and {folder.name}/ both mean {label}; merge them into one")
        else:
            known[label] = folder
    others = []
    left_out = []
    for folder in unknown:
        if _key(folder.name) not in _LEFT_OUT and (_images_in(folder) or not any(folder.iterdir())):
            # An empty folder is a class too: that it has no images is for the caller to say.
            others.append(folder)
        else:
            left_out.append(folder)
    labelled = {label: known[label] for label in DEFAULT_LABELS if label in known}
    labelled.update({folder.name: folder for folder in others})
    return labelled, [folder.name for folder in left_out]


def read_patients(root: Path) -> dict[str, str]:
    """Patient of each image path in the folder's `patients.csv`; empty without one. Raises DataError."""
    table = root / "patients.csv"
    if not table.is_file():
        return {}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"path", "patient_id"} <= set(reader.fieldnames or ()):
                raise DataError(f"{table}: needs the columns path and patient_id")
            return {row["path"]: row["patient_id"] for row in reader if row["patient_id"]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from None


def find_data_set(root: Path, labels: tuple[str, ...] | None = None, least: int = MIN_IMAGES_PER_CLASS) -> DataSet:
    """Read the layout of a data set folder.

    Known are the COVID-19 Radiography Database's first release (`COVID-19/`, `NORMAL/`, `Viral Pneumonia/`) and second
    (`CLASS/images/`), and plain class folders of any names; an optional `patients.csv` (`path,patient_id`) beside them
    names patients.

    Args:
        root: the folder that holds the class folders.
        labels: the labels a trained model knows; with them, the folder may lack classes but may not have others.
        least: images that each class must have, without `labels`.

    Raises:
        DataError: no such folder, fewer than two classes, or a class with too few images to split.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such data folder")
    folders, left_out = _label_folders(root)
    if labels is None:
        if len(folders) < 2:
            found = ", ".join(folders) or "none"
            raise DataError(f"{root}: at least two class folders with images are needed, found {found}")
        names = tuple(folders)
    else:
        names = labels
        strangers = [name for name in folders if name not in labels]
        if strangers or not folders:
            raise DataError(
                f"{root}: class folders {', '.join(strangers) or 'missing'}; the model knows {', '.join(labels)}"
            )
    patients = read_patients(root)
    items = []
    for label, folder in folders.items():
        images = _images_in(folder)
        if labels is None and len(images) < least:
            raise DataError(
                f"{folder}: {len(images) or 'no'} image{'s' if len(images) != 1 else ''}; each class needs at least "
                f"{least}{' (one each to train, validate and test)' if least > 1 else ''}"
            )
        for path in images:
            relative = path.relative_to(root).as_posix()
            items.append(Item(relative, names.index(label), patients.get(relative)))
    if not items:
        raise DataError(f"{root}: no images in its class folders")
    if patients and not any(item.patient for item in items):
        raise DataError(
            f"{root / 'patients.csv'}: none of its paths is an image here, such as {items[0].path}; without it, one "
            "patient's images could be trained and tested on"
        )
    return DataSet(
        root=root,
        labels=names,
        items=tuple(items),
        folders={label: folder.name for label, folder in folders.items()},
        left_out=tuple(left_out),
    )
