"""The page of `cxr-edge audit --html`."""

from __future__ import annotations

from pathlib import Path

from cxr_edge import __version__
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.auditing.record import Audit
from cxr_edge.files import write_text
from cxr_edge.reporting.html.pages import page, thumbnail
from cxr_edge.reporting.terminal.audit import OTHERS, class_rows, has_others, how_alike, source_rows
from cxr_edge.reporting.terminal.tables import percent


def write_audit_page(audit: Audit, output: Path, images: Path | None) -> None:
    """Write an audit as one page that needs nothing but a browser, atomically.

    Args:
        audit: the record of the audit.
        output: the .html file.
        images: the folder that the audit's paths are relative to, to show the copies; None to put no pixels in the
            page.
    """
    rows = class_rows(audit)
    content = {
        "record": audit,
        "version": __version__,
        "notice": NOTICE,
        "class_rows": rows,
        "others": OTHERS if has_others(rows) else None,
        "source_rows": source_rows(audit),
        "thumbnail": None if images is None else lambda path: thumbnail(images / path),
    }
    write_text(output, page("audit.html.j2", content, percent=percent, how=how_alike))
