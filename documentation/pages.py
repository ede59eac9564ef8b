"""All pages with generated parts, up to date."""

from __future__ import annotations

import re
from pathlib import Path

from documentation.card import root_card
from documentation.commands import command_pages
from documentation.picture import pipeline_picture
from documentation.tables import TABLES
from documentation.tradeoff import tradeoff_picture, tradeoff_table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: `<!-- table: NAME -->`, then what is generated, up to `<!-- end -->`.
_TABLE = re.compile(r"(<!-- table: (?P<name>[a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated_pages() -> dict[Path, str]:
    """The text of each page that is generated, or has a generated table in it, by its path.

    Raises:
        KeyError: a page names an unknown table.
    """
    pages = {DOCS / "commands" / name: text for name, text in command_pages().items()}
    pages |= {DOCS / "way.svg": pipeline_picture(), DOCS / "tradeoff.svg": tradeoff_picture()}
    pages[ROOT / "MODEL_CARD.md"] = root_card()
    tables = {**TABLES, "tradeoff": tradeoff_table}
    for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        if path not in pages and _TABLE.search(text):
            pages[path] = _TABLE.sub(lambda match: f"{match[1]}\n{tables[match['name']]()}\n{match[3]}", text)
    return pages
