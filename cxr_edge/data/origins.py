"""The patient and source of each image beside class folders, by their `patients.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cxr_edge.data.table import plain_path, read_table
from cxr_edge.errors import DataError
from cxr_edge.wording import counted

_TABLE = "patients.csv"


class Origin(NamedTuple):
    """What the table says of an image; None for what it does not say."""

    patient: str | None = None
    source: str | None = None


def read_origins(root: Path) -> dict[str, Origin]:
    """The origin of each image by its path below a folder; empty if the folder has no `patients.csv`.

    Raises:
        DataError: the table cannot be read, or has two rows for one path.
    """
    table = root / _TABLE
    rows = read_table(table, ("path", "patient_id")) if table.is_file() else []
    origins: dict[str, Origin] = {}
    for number, row in enumerate(rows, start=2):
        path = plain_path(row["path"])
        if path in origins:
            raise DataError(f"{table}, line {number}: {path} is already in a line above")
        origins[path] = Origin(row["patient_id"] or None, row.get("source") or None)
    return origins


def require_matches(root: Path, origins: Mapping[str, Origin], unnamed: Sequence[str]) -> None:
    """Refuse a table with paths of patients that are no files, if there are images without a patient.

    Args:
        root: the folder of the table.
        origins: from `read_origins`.
        unnamed: paths of the images without a patient.

    Raises:
        DataError: there are both.
    """
    nowhere = [
        path
        for path, origin in origins.items()
        if origin.patient and (Path(path).is_absolute() or not (root / path).is_file())
    ]
    if nowhere and unnamed:
        raise DataError(
            f"{root / _TABLE}: {counted(len(nowhere), 'path is no file', 'paths are no files')} here, such as "
            f"{nowhere[0]}, and {counted(len(unnamed), 'image has', 'images have')} no patient, such as {unnamed[0]}; "
            "fix its paths, or remove those rows: otherwise, images of one patient could be used both to train and to "
            "test"
        )
