"""What `cxr-edge audit` prints, and its page."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from textwrap import fill
from typing import Any

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.files import write_text
from cxr_edge.reporting.html.pages import page, thumbnail
from cxr_edge.reporting.terminal.tables import WIDTH, percent, show, show_table

#: Of each kind of finding, so many are printed; the JSON file and the page have them all.
_SHOWN = 5
#: Of the ways in which the copies of one picture were made, so many are printed.
_WAYS = 3


def show_audit(record: dict[str, Any]) -> None:
    """Print the record of `cxr_edge.audit.audit.audit`."""
    parts = ", ".join(f"{count} {part}" for part, count in record["parts"].items())
    show_table(
        f"{record['data']}: {record['images']} images, {record['layout']}{f' ({parts})' if parts else ''}",
        ["class", "images", "unreadable", "size", "mode", "type", "grey mean", "grey std", "border %", "marks %"],
        class_rows(record),
    )
    if record["left_out"]:
        show(f"left out: {', '.join(record['left_out'])}")
    if record["sources"]["sources"]:
        show_table("Images a source", ["source", *record["labels"]], source_rows(record)[:_SHOWN])
        if (more := len(record["sources"]["sources"]) - _SHOWN) > 0:
            show(f"  and {more} more sources; --json and --html name them all")
    show_table(
        "Shortcuts: the class guessed without looking at lungs",
        ["test", "balanced accuracy %", "95 % interval", "chance %", "verdict"],
        shortcut_rows(record),
    )
    for lines, what in ((_unreadable_lines(record), "unreadable"), (_copy_lines(record), "copies")):
        for line in lines[:_SHOWN]:
            show(f"  {line}")
        if len(lines) > _SHOWN:
            show(f"  and {len(lines) - _SHOWN} more {what}; --json and --html name them all")
    for finding in record["findings"]:
        show(fill(f"{finding['severity']}: {finding['text']}", WIDTH, subsequent_indent="  "))
    if not record["serious"]:
        show("nothing serious found")


def class_rows(record: dict[str, Any]) -> list[list[str]]:
    """A row a class: counts, sizes, modes, exposure, borders and marks, as text."""
    rows = []
    for row in record["classes"]:
        cells = [row["label"], str(row["images"]), str(row["unreadable"])]
        if "sizes" in row:
            borders, marks = (found["share"][row["label"]]["value"] for found in record["differences"])
            cells += [
                _kinds(row["sizes"]["most_common"], row["sizes"]["different"]),
                _kinds(row["modes"]),
                _kinds(row["formats"]),
                *(f"{row[name]['mean']:.0f} ± {row[name]['std']:.0f}" for name in ("grey_mean", "grey_std")),
                percent(borders, 0),
                percent(marks, 0),
            ]
        rows.append(cells + ["-"] * (10 - len(cells)))
    return rows


def source_rows(record: dict[str, Any]) -> list[list[str]]:
    """A row a source, images of each class as text."""
    return [[source, *map(str, counts.values())] for source, counts in record["sources"]["sources"].items()]


def shortcut_rows(record: dict[str, Any]) -> list[list[str]]:
    """A row a shortcut test, as text."""
    rows = []
    for row in record["shortcuts"]:
        found = row["balanced_accuracy"]
        if found is None:
            rows.append([row["test"], "-", "-", "-", row["verdict"]])
        else:
            interval = f"{percent(found['low'])} to {percent(found['high'])}"
            rows.append([row["test"], percent(found["value"]), interval, percent(row["chance"]), row["verdict"]])
    return rows


def _kinds(counts: dict[str, int], different: int | None = None) -> str:
    """The most common kind, and how many others there are."""
    others = (different or len(counts)) - 1
    return f"{next(iter(counts))}{f' +{others}' if others else ''}"


def _unreadable_lines(record: dict[str, Any]) -> list[str]:
    """A line a reason: an interrupted copy leaves thousands of empty files."""
    reasons = defaultdict(list)
    for row in record["unreadable"]:
        reasons[row["reason"]].append(row["path"])
    return [
        f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: {reason}"
        for reason, paths in reasons.items()
    ]


def _copy_lines(record: dict[str, Any]) -> list[str]:
    return [f"{' = '.join(_named(row))} ({how(row)})" for row in record["copies"]]


def _named(row: dict[str, Any]) -> list[str]:
    paths = [file["path"] for file in row["files"]]
    return paths if len(paths) <= 3 else [*paths[:2], f"{len(paths) - 2} more"]


def how(row: dict[str, Any]) -> str:
    """How the files of a row of `copies` are alike, and what they cross, in a few words."""
    words = ["the same bytes"]
    if row["near_pairs"]:
        words = list(dict.fromkeys(pair["how"] for pair in row["near_pairs"]))[:_WAYS]
        words += [f"correlation {min(pair['correlation'] for pair in row['near_pairs']):.2f}"]
    words += ["two labels"] * row["across_classes"] + ["two parts of the split"] * row["across_parts"]
    return ", ".join(words)


def write_audit_page(record: dict[str, Any], output: Path, images: Path | None) -> None:
    """Write the record as one page that needs nothing but a browser, atomically.

    Args:
        record: of `cxr_edge.audit.audit.audit`.
        output: the .html file.
        images: the folder the record's paths are relative to, to show the copies. None: no pixel is in the page.
    """
    content = {
        "record": record,
        "version": __version__,
        "notice": NOTICE,
        "class_rows": class_rows(record),
        "source_rows": source_rows(record),
        "thumbnail": None if images is None else lambda path: thumbnail(images / path),
    }
    write_text(output, page("audit.html.j2", content, percent=percent, how=how))
