"""What the commands print: tables of at most 100 columns, on stdout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxr_edge.console import printable

if TYPE_CHECKING:
    from rich.console import Console

    from cxr_edge.machine import Machine

WIDTH = 100
PHANTOM_NOTE = (
    "These figures come from phantoms (synthetic images): they show that the tool works and say nothing about patients."
)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    return Console(width=min(console.width, WIDTH) if console.is_terminal else WIDTH, highlight=False)


def show(text: str) -> None:
    """A line of plain text."""
    print(printable(text), flush=True)


def machine_line(machine: Machine) -> str:
    """A machine in one line."""
    sets = ", ".join(machine.instruction_sets) or "no known int8 instruction set"
    size = f", {machine.memory_bytes / 2**30:.1f} GiB" if machine.memory_bytes else ""
    return f"{machine.cpu} ({sets}), {machine.cores} cores{size}, {machine.system}"


def show_table(title: str, columns: list[str], rows: list[list[str]], texts: int = 1) -> None:
    """Print a table whose first `texts` columns are text, and whose others are right-aligned figures.

    Cells are plain text: square brackets are not markup. Only a column's name may have several lines. In a narrow
    terminal, cells wrap between words.
    """
    # Imported for tables only: classifying one image takes only a few times as long as this import.
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    names = [[printable(line) for line in column.split("\n")] for column in columns]
    for index, name in enumerate(names):
        table.add_column(Text("\n".join(name)), justify="left" if index < texts else "right")
    printed = [[printable(cell) for cell in row] for row in rows]
    for row in printed:
        table.add_row(*map(Text, row))
    console = _console()
    cells = [[*name, *(row[index] for row in printed)] for index, name in enumerate(names)]
    longest = [max(map(cell_len, column)) for column in cells]
    unlimited = Console(width=10_000)
    between = unlimited.measure(table).maximum - sum(longest)
    widths = _fitting(longest, [_longest_word(column) for column in cells], console.width - between)
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    # As the table's own title, it would wrap at the table's width.
    console.print(Text(printable(title), style="bold"))
    # If not even that fits, lines are longer than the terminal: truncation would lose their ends.
    Console(width=max(console.width, sum(widths) + between), highlight=False).print(table)


def _longest_word(cells: Sequence[str]) -> int:
    from rich.cells import cell_len

    # A cell's indentation or mark stays before its first word.
    words = (word for cell in cells for word in re.findall(r"^(?:\s+|> )?\S+|\S+", cell))
    return max(map(cell_len, words), default=0)


def _fitting(widest: Sequence[int], narrowest: Sequence[int], width: int) -> list[int]:
    """Widths of columns that together use the available width, unless the narrowest already exceed it."""
    widths = list(widest)
    slack = [most - least for most, least in zip(widest, narrowest, strict=True)]
    while sum(widths) > width and any(slack):
        index = max(range(len(widths)), key=slack.__getitem__)
        widths[index], slack[index] = widths[index] - 1, slack[index] - 1
    return widths


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join("| " + " | ".join(_markdown_cell(cell) for cell in line) + " |\n" for line in lines)


def _markdown_cell(text: str) -> str:
    return printable(text).strip().replace("|", "\\|")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash if it is undefined."""
    return "-" if value is None else f"{100 * value:.{digits}f}"
