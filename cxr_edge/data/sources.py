"""Where images come from, according to the workbooks beside the class folders of the COVID-19 Radiography Database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from cxr_edge.data.layouts import DataSet, folded
from cxr_edge.errors import DataError, first_line
from cxr_edge.files import MAX_TABLE_BYTES, require_bounded

#: `COVID.metadata.xlsx`; the first release spells one of them with an "a".
_WORKBOOKS = "*.m[ea]tadata.xlsx"
_NAME, _SOURCE = "file name", "url"


def with_sources(data: DataSet) -> DataSet:
    """The data set, with missing sources of images filled in from the workbooks beside its folders.

    A source is the URL in the workbook, without fragment and trailing slash. Needs the openpyxl package if there are
    workbooks.

    Raises:
        DataError: a workbook cannot be read, or lacks a column.
    """
    workbooks = sorted(data.root.glob(_WORKBOOKS))
    known = {
        (folded(workbook.name.partition(".")[0]), folded(name)): source
        for workbook in workbooks
        for name, source in _rows(workbook)
    }
    if not known:
        return data

    def source_of(path: str) -> str | None:
        inside = PurePosixPath(path)
        return known.get((folded(inside.parts[0]), folded(inside.stem)))

    return replace(data, items=tuple(replace(item, source=item.source or source_of(item.path)) for item in data.items))


def _rows(workbook: Path) -> Iterator[tuple[str, str]]:
    """File name and source of each row that has both."""
    from openpyxl import load_workbook

    try:
        require_bounded(workbook, MAX_TABLE_BYTES)
        opened = load_workbook(workbook, read_only=True, data_only=True)
        rows = list(opened.worksheets[0].iter_rows(values_only=True))
        opened.close()
    except Exception as error:  # openpyxl may raise almost anything for a damaged archive.
        raise DataError(f"{workbook}: not a workbook that can be read ({first_line(error)})") from None
    header = [str(cell or "").strip().casefold() for cell in rows[0]] if rows else []
    if _NAME not in header or _SOURCE not in header:
        raise DataError(f"{workbook}: needs the columns FILE NAME and URL, has {', '.join(header) or 'none'}")
    name, source = header.index(_NAME), header.index(_SOURCE)
    for row in rows[1:]:
        # A row may be shorter than the header.
        if len(row) > max(name, source) and row[name] and row[source]:
            yield str(row[name]), str(row[source]).strip().partition("#")[0].rstrip("/")
