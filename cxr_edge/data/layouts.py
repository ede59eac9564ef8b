"""Find the classes and images of a data set in any of the known layouts: folders, or a table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.choices import nearest
from cxr_edge.data.origins import Origin, read_origins, require_matches
from cxr_edge.data.patients import dicom_patients
from cxr_edge.data.table import plain_path, read_table
from cxr_edge.errors import DataError
from cxr_edge.imaging.dicom_files import DICOM_SUFFIXES, is_dicom
from cxr_edge.wording import counted

#: The order of the classes in every artifact trained on them.
DEFAULT_LABELS = ("COVID-19", "Viral Pneumonia", "Normal")
#: The parts of a split in order, as named in `split.csv`.
PARTS = ("train", "validation", "test")
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}) | DICOM_SUFFIXES
TABLE_SUFFIX = ".csv"
MIN_IMAGES_PER_CLASS = 3

_SYNONYMS = {
    "covid": "COVID-19",
    "covid19": "COVID-19",
    "covidpositive": "COVID-19",
    "viralpneumonia": "Viral Pneumonia",
    "pneumonia": "Viral Pneumonia",
    "normal": "Normal",
    "healthy": "Normal",
    "nofinding": "Normal",
    "lungopacity": "Lung Opacity",
}
#: The fourth class of the COVID-19 Radiography Database's second release; only on request.
_LEFT_OUT = {"lungopacity"}
_PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Item:
    """One image: its path relative to the data set's root (or absolute), and the index of its label.

    If known, `patient` names the patient, `source` says where it comes from, and `part`, one of `PARTS`, is its part in
    a predefined split.
    """

    path: str
    label: int
    patient: str | None
    source: str | None = None
    part: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Labelled images. `folders` maps each label to the folders, or the spellings in the table, it was read from.

    `patients_doubt` is one line on PatientIDs that were not accepted as patients, None if there are none.
    """

    root: Path
    labels: tuple[str, ...]
    items: tuple[Item, ...]
    folders: dict[str, str]
    left_out: tuple[str, ...]
    patients_doubt: str | None = None
    #: The table that lists the images; None if they come from folders.
    table: Path | None = None

    def counts(self) -> dict[str, int]:
        """Images per label, in the order of the labels."""
        counts = Counter(item.label for item in self.items)
        return {label: counts[index] for index, label in enumerate(self.labels)}

    def parts(self) -> dict[str, int]:
        """Images per part of a predefined split; empty without one."""
        counts = Counter(item.part for item in self.items)
        return {part: counts[part] for part in PARTS if counts[part]}

    def without(self, indices: Collection[int]) -> DataSet:
        """The data set without the items at `indices`."""
        return replace(self, items=tuple(item for index, item in enumerate(self.items) if index not in indices))

    def test_part(self) -> DataSet:
        """The images that no model was trained on: the test part of a predefined split, everything without a split.

        Raises:
            DataError: the data is split, and has no test part.
        """
        parts = self.parts()
        if parts and "test" not in parts:
            raise DataError(
                f"{self.table or self.root}: is split into {' and '.join(parts)}, without a test part, and models may "
                "have been trained on it; name images that are not split, or add a test part"
            )
        return replace(self, items=tuple(item for item in self.items if not parts or item.part == "test"))

    def hold_out(self, source: str) -> DataSet:
        """Use all images known to be of one source as the test part, the others for training and validation.

        Raises:
            DataError: no image has this source.
        """
        known = sorted({item.source for item in self.items if item.source})
        if source not in known:
            named = nearest(source, known) if known else "a table's column source or CLASS.metadata.xlsx names them"
            raise DataError(f"{self.table or self.root}: no images of the source {source}; {named}")
        moved = (replace(item, part="test" if item.source == source else "train") for item in self.items)
        return replace(self, items=tuple(moved))


class UnknownClassesError(DataError):
    """The classes of a data set are not those of a trained model; `unknown` has the names that the model lacks."""

    def __init__(self, message: str, unknown: Collection[str]) -> None:
        super().__init__(message)
        self.unknown = tuple(unknown)


def folded(name: str) -> str:
    """A class or file name without the usual differences in spelling: case, spaces, punctuation."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _label_of(name: str, labels: tuple[str, ...] | None) -> str | None:
    """The label for the class name of a folder or table; None for an unknown name."""
    mine = (label for label in labels or () if folded(label) == folded(name))
    return next(mine, None) or _SYNONYMS.get(folded(name))


def data_root(data: Path) -> Path:
    """The folder that paths in a data set are relative to: `data` itself, or the folder of the table `data`."""
    return data.parent if data.suffix.lower() == TABLE_SUFFIX else data


def image_files(folder: Path) -> list[Path]:
    """The files under a folder that are images by suffix or DICOM by content, sorted.

    A broken link with an image's suffix is included: skipping it silently would hide it.

    Raises:
        DataError: a folder cannot be read, or there is a link to one, which could lead back to a folder above it.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: this folder cannot be read ({error.strerror})")

    paths = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        for name in folders:
            if name[0] != "." and Path(parent, name).is_symlink():
                raise DataError(
                    f"{Path(parent, name)}: a link to a folder, which is not followed; replace it by the folder, or "
                    "remove it"
                )
        for name in names:
            path = Path(parent, name)
            if name.startswith(".") or name == "DICOMDIR":
                continue
            named = path.suffix.lower() in IMAGE_SUFFIXES
            if (named and path.is_symlink()) or (path.is_file() and (named or is_dicom(path))):
                paths.append(path)
    return sorted(paths)


def x_ray_files(folder: Path) -> list[Path]:
    """`image_files` without folders named `masks`, which the COVID-19 Radiography Database has beside `images`.

    Raises:
        DataError: a folder cannot be read.
    """
    return [path for path in image_files(folder) if "masks" not in path.relative_to(folder).parts[:-1]]


def _images_in(folder: Path) -> list[Path]:
    """Image files of a class folder; only those in `images/` if it has one (`masks/` are not X-rays)."""
    inner = folder / "images"
    # Not Path.is_dir, which raises if the folder is not readable.
    return image_files(inner if os.path.isdir(inner) else folder)


def _label_folders(root: Path, labels: tuple[str, ...] | None, included: set[str]) -> tuple[dict[str, Path], list[str]]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    for path in root.iterdir():
        if path.is_symlink() and not path.exists() and path.suffix == "":
            raise DataError(f"{path}: a link to a folder that does not exist")
    known: dict[str, Path] = {}
    others: list[str] = []
    left_out: list[str] = []
    for folder in folders:
        key = folded(folder.name)
        label = _label_of(folder.name, labels)
        if key in _LEFT_OUT and key not in included:
            left_out.append(folder.name)
        elif label is None:
            # An empty folder is a class too; it is up to the caller to report that it has no images.
            (others if _images_in(folder) or not any(folder.iterdir()) else left_out).append(folder.name)
        elif label in known:
            raise DataError(f"{root}: {known[label].name}/ and {folder.name}/ both mean {label}; merge them into one")
        else:
            known[label] = folder
    known.update({name: root / name for name in others})
    return known, left_out


def _part_folders(root: Path) -> dict[str, Path]:
    """The folders of a predefined split, by the names in `PARTS`; empty without one."""
    parts: dict[str, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        part = _PARTS.get(folded(folder.name))
        if part in parts:
            raise DataError(f"{root}: {parts[part].name}/ and {folder.name}/ both mean {part}; merge them into one")
        if part is not None:
            parts[part] = folder
    if "train" not in parts or len(parts) < 2:
        return {}
    return {part: parts[part] for part in PARTS if part in parts}


@dataclass(frozen=True)
class _Row:
    """An image as a layout names it."""

    path: str
    label: str
    patient: str | None
    source: str | None
    part: str | None


@dataclass
class _Reading:
    """The content of a layout before labels have an order: items refer to labels by name."""

    root: Path
    #: The layout's names for each class, by label.
    spelled: dict[str, list[str]]
    rows: list[_Row]
    left_out: list[str]


def _read_folders(root: Path, labels: tuple[str, ...] | None, included: set[str]) -> _Reading:
    if not root.is_dir():
        raise DataError(f"{root}: no such data folder")
    reading = _Reading(root, {}, [], [])
    origins = read_origins(root)
    parts = _part_folders(root)
    for part, folder in parts.items() or {None: root}.items():
        folders, left_out = _label_folders(folder, labels, included)
        reading.left_out += [Path(folder.relative_to(root), name).as_posix() for name in left_out]
        for label, inner in folders.items():
            reading.spelled.setdefault(label, []).append(inner.relative_to(root).as_posix())
            for path in _images_in(inner):
                relative = path.relative_to(root).as_posix()
                origin = origins.get(relative, Origin())
                reading.rows.append(_Row(relative, label, origin.patient, origin.source, part))
    if parts:
        taken = {folder.name for folder in parts.values()}
        reading.left_out += sorted(
            path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "." and path.name not in taken
        )
    require_matches(root, origins, [row.path for row in reading.rows if row.patient is None])
    return reading


def _read_rows(table: Path, labels: tuple[str, ...] | None, included: set[str]) -> _Reading:
    reading = _Reading(data_root(table), {}, [], [])
    seen: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    for number, row in enumerate(read_table(table, ("path", "label")), start=2):
        path, name, split = row["path"], row["label"], row.get("split", "")
        part = _PARTS.get(folded(split))
        if not path or not name:
            raise DataError(f"{table}, line {number}: no {'label' if path else 'path'}")
        if (plain := plain_path(path)) in seen:
            raise DataError(f"{table}, line {number}: {path} is already in line {seen[plain]}")
        if split and part is None:
            raise DataError(f"{table}, line {number}: unknown split {split}; choose one of {', '.join(PARTS)}")
        seen[plain] = number
        if folded(name) in _LEFT_OUT - included:
            left_out[name] += 1
            continue
        label = _label_of(name, labels) or name
        spelled = reading.spelled.setdefault(label, [])
        if name not in spelled:
            spelled.append(name)
        reading.rows.append(_Row(path, label, row.get("patient_id") or None, row.get("source") or None, part))
    parts = {row.part for row in reading.rows}
    if None in parts and len(parts) > 1:
        without = next(row.path for row in reading.rows if row.part is None)
        raise DataError(
            f"{table}: the column split is empty for some images, such as {without}; fill it in for all images or none"
        )
    reading.left_out = list(left_out)
    return reading


def _with_dicom_patients(data: DataSet) -> DataSet:
    """The data set with patients for the DICOM files for which no table names one.

    A file with the PatientID of one that a table names is of the same patient.
    """
    # Files with the suffix of another format are not opened, which saves time.
    others = IMAGE_SUFFIXES - DICOM_SUFFIXES
    dicom = [index for index, item in enumerate(data.items) if Path(item.path).suffix.lower() not in others]
    if all(data.items[index].patient is not None for index in dicom):
        return data
    items = list(data.items)
    paths = [data.root / items[index].path for index in dicom]
    patients = dicom_patients(paths, [items[index].label for index in dicom])
    named: dict[str, str] = {}
    for index, number in zip(dicom, patients.names, strict=True):
        if number is not None and (name := items[index].patient) is not None:
            named.setdefault(number, name)
    for index, number in zip(dicom, patients.names, strict=True):
        if number is not None and items[index].patient is None:
            items[index] = replace(items[index], patient=named.get(number, number))
    return replace(data, items=tuple(items), patients_doubt=patients.doubt)


def find_data_set(
    data: Path,
    labels: tuple[str, ...] | None = None,
    least: int = MIN_IMAGES_PER_CLASS,
    include: Collection[str] = (),
) -> DataSet:
    """Read the layout of a data set.

    The known layouts are the COVID-19 Radiography Database's first release (`COVID-19/`, `NORMAL/`, `Viral Pneumonia/`)
    and second (`CLASS/images/`), plain class folders of any names, these inside `train/`, `validation/` and `test/`,
    and a CSV file (`path,label[,patient_id,source,split]`). An optional `patients.csv` (`path,patient_id[,source]`)
    beside the folders names patients. Without either, the patients of DICOM files are numbered by their PatientID
    (`dicom_patients`).

    Args:
        data: the folder that holds the class folders, or the CSV file, whose paths are relative to its folder.
        labels: the labels a trained model knows. With them, the data may lack classes but not have others, and will not
            be split, so no DICOM file is read for its patient.
        least: minimum number of images of each class, without `labels`.
        include: names of optional classes to read (`Lung_Opacity`).

    Raises:
        UnknownClassesError: with `labels`, there are other classes, or none.
        DataError: the data does not exist, a folder or table cannot be read, there are fewer than two classes, or a
            class has too few images to split.
    """
    asked = {folded(name) for name in include}
    read = _read_rows if data.suffix.lower() == TABLE_SUFFIX else _read_folders
    try:
        reading = read(data, labels, asked | {folded(label) for label in labels or ()})
    except PermissionError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from None
    spelled = reading.spelled
    known = {folded(Path(name).name) for names in spelled.values() for name in names}
    missing = [name for name in include if folded(name) not in known]
    if missing:
        folders = sorted(Path(name).name for names in spelled.values() for name in names)
        raise DataError(f"{data}: no class {missing[0]} to include; {nearest(missing[0], folders)}")
    names = _ordered_labels(data, spelled, labels)
    items = tuple(Item(row.path, names.index(row.label), row.patient, row.source, row.part) for row in reading.rows)
    data_set = DataSet(
        root=reading.root,
        labels=names,
        items=items,
        folders={label: ", ".join(spelled[label]) for label in names if label in spelled},
        left_out=tuple(reading.left_out),
        table=data if read is _read_rows else None,
    )
    if labels is None:
        _require_images(data, data_set, spelled, least)
    if not items:
        raise DataError(f"{data}: no images in its class folders")
    return _with_dicom_patients(data_set) if labels is None else data_set


def _ordered_labels(data: Path, spelled: Collection[str], labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """The labels in order: the model's if there is one, otherwise those of the data's classes."""
    table = data / "labels.csv"
    hint = f"; if {table.name} names the classes, pass {table}" if table.is_file() else ""
    if labels is not None:
        unknown = [name for name in spelled if name not in labels]
        if unknown or not spelled:
            raise UnknownClassesError(
                f"{data}: classes {', '.join(unknown) or 'missing'}; the model knows {', '.join(labels)}{hint}",
                unknown,
            )
        return labels
    if len(spelled) < 2:
        classes = ", ".join(spelled) or "none"
        raise DataError(f"{data}: at least two classes with images are needed, found {classes}{hint}")
    # Not `folded`, to which TB+ and TB- are the same.
    plain: dict[str, str] = {}
    for name in spelled:
        other = plain.setdefault(name.casefold().replace(" ", "").replace("_", ""), name)
        if other != name:
            raise DataError(f"{data}: {other} and {name} are two spellings of one class; use one of them")
    names = tuple(label for label in DEFAULT_LABELS if label in spelled)
    return names + tuple(sorted(set(spelled) - set(names)))


def _require_images(data: Path, data_set: DataSet, spelled: dict[str, list[str]], least: int) -> None:
    for label, count in data_set.counts().items():
        if count < least:
            images = counted(count, "image") if count else "no images"
            raise DataError(
                f"{data / spelled[label][0] if data.is_dir() else f'{data}, {label}'}: {images}; each class needs at "
                f"least {least}"
                f"{' (one each to train, validate and test)' if least > 1 else ''}"
            )
