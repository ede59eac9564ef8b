"""Markdown and YAML with text from elsewhere: labels and file names come from users and may hold markup."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from cxr_edge.console import printable
from cxr_edge.reporting.terminal.tables import markdown_table

#: Characters with a meaning inside a line of Markdown or HTML. Bars are not among them: `markdown_table` escapes them.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#~$&!@]|(?<=www)\.|(?<=:)/(?=/)")


def escaped(text: str) -> str:
    """Text without markup, links or line breaks."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))


def quoted(text: str) -> str:
    """Text as a YAML string: a JSON string is one."""
    return json.dumps(printable(text), ensure_ascii=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown."""
    return markdown_table(list(columns), [list(row) for row in rows])


def section(title: str, *paragraphs: str) -> str:
    """A section; empty paragraphs are left out."""
    return "\n\n".join([f"## {title}", *(text.rstrip() for text in paragraphs if text)])


def bullets(lines: Sequence[str]) -> str:
    """A list; lines are Markdown."""
    return "\n".join(f"- {line}" for line in lines)
