"""Hooks of `mkdocs build` that add the live demo to the site, if it has been built."""

from __future__ import annotations

import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from documentation.live_demo import LIVE_DEMO, introduction

#: The text of a page for a site without a live demo.
_WITHOUT = re.compile(r"<!-- no live demo -->\n.*?<!-- end -->\n", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of the live demo."""
    for path in sorted(LIVE_DEMO.rglob("*")):
        if path.is_file():
            name = f"{LIVE_DEMO.name}/{path.relative_to(LIVE_DEMO).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the text for a site without a live demo by an introduction to it."""
    return _WITHOUT.sub(lambda _: f"{introduction(LIVE_DEMO)}\n", markdown) if LIVE_DEMO.is_dir() else markdown
