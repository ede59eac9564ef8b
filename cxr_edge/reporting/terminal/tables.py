"""What the commands print: tables of at most 100 columns, on stdout."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.console import printable
from cxr_edge.machine import Machine

WIDTH = 100
PHANTOM_NOTE = "Figures come from phantoms (synthetic images): they say that the tool works, nothing about patients."


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    return Console(width=min(console.width, WIDTH) if console.is_terminal else WIDTH, highlight=False)


def show(text: str) -> None:
    """A line of plain text."""
    print(printable(text), flush=True)


def machine_line(machine: Machine) -> str:
    """A machine in one line."""
    sets = ", ".join(machine.instruction_sets) or "no instruction set for int8 known"
    size = f", {machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else ""
    return f"{machine.cpu} ({sets}), {machine.cores} cores{size}, {machine.system}"


def show_table(title: str, columns: list[str], rows: list[list[str]], texts: int = 1) -> None:
    """A table whose first columns are `texts`, and whose others are figures, set to the right.

    Cells are plain text: a square bracket is one, and no markup. Only a column's name may have several lines.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, column in enumerate(columns):
        name = Text("\n".join(printable(line) for line in column.split("\n")))
        table.add_column(name, justify="left" if index < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = _console()
    # As a title of the table, it would be no wider than the table.
    console.print(Text(printable(title), style="bold"))
    console.print(table)


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """The same as a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    return printable(text).strip().replace("|", "\\|")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where it is undefined."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def show_metrics(metrics: dict[str, Any], title: str) -> None:
    """Per-class metrics, the confusion matrix beside them, and the summary line."""
    labels = [row["label"] for row in metrics["classes"]]
    rows = []
    for row, counts in zip(metrics["classes"], metrics["confusion_matrix"], strict=True):
        figures = [percent(row[name]) for name in ("precision", "recall", "f1")]
        rows.append([row["label"], *figures, str(row["support"]), *(str(count) for count in counts)])
    show_table(
        f"{title}: {metrics['images']} images",
        ["class", "precision %", "recall %", "F1 %", "images", *(f"as {label}" for label in labels)],
        rows,
    )
    auc = "-" if metrics["macro_auc"] is None else f"{metrics['macro_auc']:.4f}"
    show(
        f"accuracy {percent(metrics['accuracy'])} %, balanced accuracy {percent(metrics['balanced_accuracy'])} %, "
        f"macro AUC {auc}"
    )
    if point := metrics.get("operating_point"):
        show(
            f"operating point ({point['label']} from {percent(point['threshold'])} %, a radiologist below "
            f"{percent(point['refer_below'])} %): decides {percent(point['coverage'])} % of the images, "
            f"{percent(point['accuracy'])} % of those right; {point['label']} called {percent(point['called'])} %, "
            f"called or referred {percent(point['sensitivity'])} %"
        )
    if metrics.get("data") == TrainingData.PHANTOMS:
        show(PHANTOM_NOTE)


def show_cross_validation(record: dict[str, Any]) -> None:
    """What `cross_validation.json` holds: a class a row, and the accuracy over all images and a fold."""

    def interval(found: dict[str, Any]) -> list[str]:
        return [percent(found["value"]), f"{percent(found['low'])} to {percent(found['high'])}"]

    labels = [row["label"] for row in record["classes"]]
    show_table(
        f"Cross-validation, {len(record['fold_accuracy'])} folds: {record['images']} images, each by the model that "
        "never saw it (95 % intervals)",
        ["class", "precision %", "recall %", "", *(f"as {label}" for label in labels)],
        [
            [row["label"], percent(row["precision"]["value"]), *interval(row["recall"]), *map(str, counts)]
            for row, counts in zip(record["classes"], record["confusion_matrix"], strict=True)
        ],
    )
    accuracy, between = interval(record["accuracy"])
    show(
        f"accuracy {accuracy} % ({between}), balanced accuracy {percent(record['balanced_accuracy'])} %; "
        f"a fold: {', '.join(percent(one) for one in record['fold_accuracy'])}"
    )
    if record["data"] == TrainingData.PHANTOMS:
        show(PHANTOM_NOTE)


def show_skipped(skipped: list[dict[str, str]], where: str) -> None:
    """The images that a command left out, the first ten by name, and `where` the others are to be found."""
    if skipped:
        count = f"{len(skipped)} images" if len(skipped) > 1 else "1 image"
        show(f"warning: {count} cannot be used, and left out; {where}")
        for one in skipped[:10]:
            show(f"  {one['reason']}")
        if len(skipped) > 10:
            show(f"  and {len(skipped) - 10} more")
