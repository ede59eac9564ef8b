"""CSV tables that describe images, with columns under any of their common names."""

from __future__ import annotations

import csv
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


def read_table(table: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header, keyed by the names in `_COLUMNS`, with values stripped.

    Raises:
        DataError: the file does not exist, is not CSV in UTF-8, or lacks a needed column.
    """
    try:
        require_bounded(table, MAX_TABLE_BYTES)
        # Spreadsheets write a byte order mark (BOM).
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            there = {name.strip().casefold(): name for name in reader.fieldnames or ()}
            names = {
                column: next(there[alias] for alias in aliases if alias in there)
                for column, aliases in _COLUMNS.items()
                if set(aliases) & set(there)
            }
            missing = [column for column in needed if column not in names]
            if missing:
                raise DataError(f"{table}: needs the columns {' and '.join(needed)}, has {', '.join(there) or 'none'}")
            return [{column: (row[name] or "").strip() for column, name in names.items()} for row in reader]
    except FileNotFoundError:
        raise DataError(f"{table}: no such table") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{table}: not a CSV file in UTF-8 ({error})") from None
