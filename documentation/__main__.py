"""`python -m documentation`: regenerate all generated parts."""

from __future__ import annotations

from cxr_edge.files import write_text
from documentation.pages import generated_pages

for path, text in generated_pages().items():
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
        print(path)
