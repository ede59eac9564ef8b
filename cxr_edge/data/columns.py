"""Attributes that divide images into groups for evaluation: columns of a table, and DICOM tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.choices import nearest
from cxr_edge.data.layouts import DataSet, Item, folded
from cxr_edge.data.sources import with_sources
from cxr_edge.data.table import plain_path, read_whole_table
from cxr_edge.errors import ImageError, OptionError
from cxr_edge.imaging.dicom import GROUP_TAGS, group_tag
from cxr_edge.imaging.dicom_files import is_dicom

#: Other names of a DICOM tag, in tables and on the command line.
_ALIASES = {"PatientSex": ("sex", "gender"), "PatientAge": ("age",), "ViewPosition": ("view",)}
#: Columns of a table that are no groups: each image has a value of its own, or the value is what is evaluated.
_NO_GROUPS = {"path", "label", "patient_id"}
#: The first year of life of each age band.
_BANDS = (0, 18, 40, 60, 80)
_YEARS = {"d": 1 / 365.25, "w": 7 / 365.25, "m": 1 / 12, "y": 1.0, "": 1.0}


@dataclass(frozen=True)
class Column:
    """A value for each of N images, empty where it is not stated."""

    name: str
    values: tuple[str, ...]

    def at(self, indices: Sequence[int]) -> Column:
        """The column of some of the images."""
        return Column(self.name, tuple(self.values[index] for index in indices))


def read_columns(names: Sequence[str], root: Path, table: Path | None, paths: Sequence[str]) -> tuple[Column, ...]:
    """Read the named columns for some images.

    A name is that of a column of the table, or of a DICOM tag (`GROUP_TAGS`, or sex, age and view for short); the table
    takes precedence. The source of an image may also be in the workbooks of the COVID-19 Radiography Database. Ages are
    put into bands.

    Args:
        names: as typed.
        root: the folder that the paths are relative to.
        table: the table that lists the images; None for `patients.csv` beside the folders, if it exists.
        paths: of the images.

    Raises:
        OptionError: there is no such column or tag; the message suggests the nearest.
        DataError: the table or a workbook cannot be read.
        MissingDependencyError: a tag is asked for, and pydicom is not installed.
    """
    if not names:
        return ()
    beside = root / "patients.csv" if table is None else table
    columns = _of_table(beside, paths) if beside.is_file() else {}
    if "source" in map(folded, names):
        columns = _of_workbooks(root, paths) | columns
    dicom = [is_dicom(root / path) for path in paths]
    return tuple(_column(name, columns, root, paths, dicom) for name in names)


def _column(
    name: str, columns: dict[str, list[str]], root: Path, paths: Sequence[str], dicom: Sequence[bool]
) -> Column:
    aliases = {folded(alias) for alias in _names_of(name)}
    tag = next((tag for tag in GROUP_TAGS if folded(tag) in aliases), None)
    match = next((column for column in columns if folded(column) in aliases), None)
    if match is not None:
        values = columns[match]
    elif tag is not None and any(dicom):
        values = [_tag(root / path, tag) if has_tags else "" for path, has_tags in zip(paths, dicom, strict=True)]
    else:
        known = [*columns, *(_short_names() if any(dicom) else ())]
        hint = nearest(name, known) if known else "only path, label and patient of the images are known"
        raise OptionError(f"--by {name}: no such column or DICOM tag; {hint}")
    banded = tag == "PatientAge"
    return Column(name, tuple(map(age_band, values)) if banded else tuple(values))


def _names_of(name: str) -> tuple[str, ...]:
    """A name, and what else it is called."""
    for tag, aliases in _ALIASES.items():
        if folded(name) in {folded(own) for own in (tag, *aliases)}:
            return (tag, *aliases)
    return (name,)


def _short_names() -> list[str]:
    return [_ALIASES.get(tag, (tag,))[0] for tag in GROUP_TAGS]


def _of_table(table: Path, paths: Sequence[str]) -> dict[str, list[str]]:
    """The values of each column that may make groups, in the order of the paths."""
    whole = read_whole_table(table)
    known = whole.known()
    rows = {plain_path(row[known["path"]]): row for row in whole.rows} if "path" in known else {}
    apart = {known[column] for column in _NO_GROUPS & set(known)}
    return {
        column: [rows.get(plain_path(path), {}).get(column, "") for path in paths]
        for column in whole.columns
        if rows and column and column not in apart
    }


def _of_workbooks(root: Path, paths: Sequence[str]) -> dict[str, list[str]]:
    data = DataSet(root, (), tuple(Item(path, 0, None) for path in paths), {}, ())
    sources = [item.source or "" for item in with_sources(data).items]
    return {"source": sources} if any(sources) else {}


def _tag(path: Path, tag: str) -> str:
    # Decoding reports damaged files.
    with suppress(ImageError):
        return group_tag(path, tag)
    return ""


def age_band(age: str) -> str:
    """The band of an age: years, or as in DICOM (`045Y`, `006M`). Anything else, such as a band, stays as it is."""
    stated = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*([dwmy]?)", age.strip().casefold())
    if stated is None:
        return age
    years = float(stated[1]) * _YEARS[stated[2]]
    index = sum(years >= first for first in _BANDS) - 1
    return f"{_BANDS[index]}+" if index == len(_BANDS) - 1 else f"{_BANDS[index]} to {_BANDS[index + 1] - 1}"
