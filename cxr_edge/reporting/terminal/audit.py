"""What `cxr-edge audit` prints, and the rows of its tables, which the page also uses."""

from __future__ import annotations

from collections import defaultdict
from textwrap import wrap

from cxr_edge.auditing.record import Audit, ClassSummary, CopiedPicture
from cxr_edge.reporting.terminal.tables import WIDTH, percent, show, show_table
from cxr_edge.wording import counted

#: Maximum number of lines to print per table or list; the JSON file and the page have them all.
_SHOWN = 5
#: Maximum number of kinds of change to print for the copies of one picture.
_WAYS = 3
CLASS_COLUMNS = (
    "class", "images", "unreadable", "size", "mode", "type", "grey mean", "grey std", "border %", "marks %",
)  # fmt: skip
#: The meaning of `+2` in the table of classes.
OTHERS = "+N: and N other sizes, modes or types in that class"


def show_audit(audit: Audit) -> None:
    """Print an audit."""
    parts = ", ".join(f"{count} {part}" for part, count in audit.parts.items())
    rows = class_rows(audit)
    show_table(
        f"{audit.data}: {counted(audit.images, 'image')}, {audit.layout}{f' ({parts})' if parts else ''}",
        list(CLASS_COLUMNS),
        rows,
    )
    if has_others(rows):
        show(f"  {OTHERS}")
    if audit.left_out:
        show(f"left out: {', '.join(audit.left_out)}")
    if audit.sources.sources:
        show_table("Images per source", ["source", *audit.labels], source_rows(audit)[:_SHOWN])
        if (more := len(audit.sources.sources) - _SHOWN) > 0:
            show(f"  and {more} more sources; --json and --html name them all")
    show_table(
        "Shortcuts: the class guessed without looking at the lungs",
        ["test", "balanced accuracy %", "95 % interval", "chance %", "verdict"],
        shortcut_rows(audit),
    )
    for title, lines, what in (
        ("Images that cannot be read:", _unreadable_lines(audit), "unreadable"),
        ("Pictures that are in the data more than once:", _copy_lines(audit), "copies"),
    ):
        if lines:
            show(title)
        for line in lines[:_SHOWN]:
            show(f"  {line}")
        if len(lines) > _SHOWN:
            show(f"  and {len(lines) - _SHOWN} more {what}; --json and --html name them all")
    for finding in audit.findings:
        for line in wrap(f"{finding.severity}: {finding.text}", WIDTH, subsequent_indent="  "):
            show(line)
    if not audit.serious:
        show("nothing serious found")


def class_rows(audit: Audit) -> list[list[str]]:
    """A row per class, with `CLASS_COLUMNS`."""
    return [_class_row(audit, summary) for summary in audit.classes]


def _class_row(audit: Audit, summary: ClassSummary) -> list[str]:
    cells = [summary.label, str(summary.images), str(summary.unreadable)]
    if summary.sizes and summary.modes and summary.formats and summary.grey_mean and summary.grey_std:
        cells += [
            _kinds(summary.sizes.most_common, summary.sizes.different),
            _kinds(summary.modes, len(summary.modes)),
            _kinds(summary.formats, len(summary.formats)),
            *(f"{spread.mean:.0f} ± {spread.std:.0f}" for spread in (summary.grey_mean, summary.grey_std)),
            *(percent(difference.share[summary.label].value, 0) for difference in audit.differences),
        ]
    return cells + ["-"] * (len(CLASS_COLUMNS) - len(cells))


def has_others(rows: list[list[str]]) -> bool:
    """Whether rows of `class_rows` need the explanation in `OTHERS`."""
    return any(" +" in cell for row in rows for cell in row[3:6])


def source_rows(audit: Audit) -> list[list[str]]:
    """A row per source: its name, and the images of each class."""
    return [[source, *map(str, counts.values())] for source, counts in audit.sources.sources.items()]


def shortcut_rows(audit: Audit) -> list[list[str]]:
    """A row per shortcut test."""
    rows = []
    for test in audit.shortcuts:
        accuracy = test.balanced_accuracy
        if accuracy is None:
            rows.append([test.test, "-", "-", "-", test.verdict])
        else:
            interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
            rows.append([test.test, percent(accuracy.value), interval, percent(test.chance), test.verdict])
    return rows


def _kinds(counts: dict[str, int], different: int) -> str:
    """The most common kind, and the number of others."""
    return f"{next(iter(counts))}{f' +{different - 1}' if different > 1 else ''}"


def _unreadable_lines(audit: Audit) -> list[str]:
    """A line per reason: an interrupted copy leaves thousands of empty files."""
    reasons = defaultdict(list)
    for file in audit.unreadable:
        reasons[file.reason].append(file.path)
    return [
        f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: {reason}"
        for reason, paths in reasons.items()
    ]


def _copy_lines(audit: Audit) -> list[str]:
    return [f"{' = '.join(_names(picture))} ({how_alike(picture)})" for picture in audit.copies]


def _names(picture: CopiedPicture) -> list[str]:
    paths = [file.path for file in picture.files]
    return paths if len(paths) <= 3 else [*paths[:2], f"{len(paths) - 2} more"]


def how_alike(picture: CopiedPicture) -> str:
    """How the files of a picture are alike, and which boundaries they cross, in a few words."""
    words = ["the same bytes"]
    if picture.near_pairs:
        words = list(dict.fromkeys(pair.how for pair in picture.near_pairs))[:_WAYS]
        words += [f"correlation {min(pair.correlation for pair in picture.near_pairs):.2f}"]
    words += ["two labels"] * picture.across_classes + ["two parts of the split"] * picture.across_parts
    return ", ".join(words)
