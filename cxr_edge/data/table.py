"""CSV tables that describe images, with columns under any of their common names."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import DataError
from cxr_edge.files import MAX_TABLE_BYTES, require_bounded

#: Columns, and their names in the wild; the first is ours.
_COLUMNS = {
    "path": ("path", "file", "filename"),
    "label": ("label", "class"),
    "patient_id": ("patient_id", "patientid", "patient"),
    "source": ("source",),
    "split": ("split", "part"),
}


@dataclass(frozen=True)
class Table:
    """A CSV file with a header: the names of its columns, and its rows by these names, both stripped."""

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]

    def known(self) -> dict[str, str]:
        """The names of its columns by those in `_COLUMNS` that they stand for."""
        present = {name.casefold(): name for name in self.columns}
        return {
            column: next(present[alias] for alias in aliases if alias in present)
            for column, aliases in _COLUMNS.items()
            if set(aliases) & set(present)
        }


def plain_path(path: str) -> str:
    """A path as written in a table, without a leading `./`: by it, paths of tables and folders are compared."""
    return Path(path).as_posix()


def read_table(table: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, keyed by the names in `_COLUMNS`, with values stripped.

    Raises:
        DataError: the file does not exist, is not CSV in UTF-8, or lacks a needed column.
    """
    whole = read_whole_table(table)
    names = whole.known()
    if any(column not in names for column in needed):
        has = ", ".join(map(str.casefold, whole.columns)) or "none"
        raise DataError(f"{table}: needs the columns {' and '.join(needed)}, has {has}")
    return [{column: row[name] for column, name in names.items()} for row in whole.rows]


def read_whole_table(table: Path) -> Table:
    """A CSV file with all of its columns. Raises DataError as `read_table`."""
    try:
        require_bounded(table, MAX_TABLE_BYTES)
        # Spreadsheets write a byte order mark (BOM).
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = {name: name.strip() for name in reader.fieldnames or ()}
            rows = ({stripped: (row[name] or "").strip() for name, stripped in names.items()} for row in reader)
            return Table(tuple(names.values()), tuple(rows))
    except FileNotFoundError:
        raise DataError(f"{table}: no such table") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from None
