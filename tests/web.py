"""What tests of the page share: where its sources are, whether they can be built and shown here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

WEB = Path(__file__).parents[1] / "web"
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_sources = pytest.mark.skipif(
    NODE is None or not (WEB / "node_modules").is_dir(), reason="needs Node.js and the packages that make web installs"
)
