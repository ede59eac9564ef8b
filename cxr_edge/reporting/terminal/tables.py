"""What the commands print: tables of at most 100 columns, on stdout."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
