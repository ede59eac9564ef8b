"""What `cxr-edge audit` does around the audit itself: progress, what is shown and written, and the gate."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.audit.audit import SERIOUS, audit
from cxr_edge.audit.folders import find_images
from cxr_edge.audit.measure import measure_all
from cxr_edge.console import progress_bar, working
from cxr_edge.errors import GateError, OptionError
from cxr_edge.files import write_json
from cxr_edge.reporting.html.audit import show_audit, write_audit_page
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run


def run_audit(
    folder: Path | None, run: Path | None, html: Path | None, with_images: bool, strict: bool, json: Path | None
) -> None:
    """Audit a folder, or the data of a run; show it, write it, and with `strict` fail on what is serious.

    Raises:
        OptionError, DataError, RunError: bad usage or input.
        GateError: with `strict`, after everything is written.
    """
    if with_images and html is None:
        raise OptionError("--with-images is about the page: name one with --html FILE")
    collection = find_images(folder, None if run is None else Run(run))
    with progress_bar("reading images", len(collection.images)) as bar:
        measured = measure_all([collection.root / image.path for image in collection.images], bar.tick)
    record = audit(collection, measured, working)
    show_audit(record)
    if json is not None:
        write_json(json, record)
    if html is not None:
        write_audit_page(record, html, collection.root if with_images else None)
        show(f"page: {html}")
    serious = [finding["kind"] for finding in record["findings"] if finding["severity"] == SERIOUS]
    if strict and serious:
        raise GateError(f"{collection.root}: serious findings: {', '.join(serious)}")
