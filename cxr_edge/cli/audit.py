"""`cxr-edge audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption


def command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder or table as for train --data, or a folder with a labels.csv (path,label).",
            show_default="the run's data",
            metavar="DIR|FILE.csv",
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run whose split.csv names the parts of the split.", metavar="DIR"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write the result as a self-contained HTML page.", metavar="FILE"),
    ] = None,
    with_images: Annotated[bool, typer.Option("--with-images", help="Show the copied images on the page.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 3 if a finding is serious.")] = False,
    json: JsonOption = None,
) -> None:
    """Find what spoils a data set: unreadable files, copies, conflicting labels, mixed-up patients, shortcuts."""
    from cxr_edge.auditing.audit import audit
    from cxr_edge.auditing.folders import find_images
    from cxr_edge.auditing.measure import measure_all
    from cxr_edge.auditing.record import Severity
    from cxr_edge.console import progress_bar, working
    from cxr_edge.errors import GateError, OptionError
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.html.audit import write_audit_page
    from cxr_edge.reporting.terminal.audit import show_audit
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runs import run_named

    if with_images and html is None:
        raise OptionError("--with-images needs a page: add --html FILE")
    collection = find_images(folder, None if run is None else run_named(run))
    with progress_bar("reading images", len(collection.images)) as bar:
        measured = measure_all([collection.root / image.path for image in collection.images], bar.tick)
    result = audit(collection, measured, working)
    show_audit(result)
    if json is not None:
        write_json(json, to_json(result))
    if html is not None:
        write_audit_page(result, html, collection.root if with_images else None)
        show(f"page: {html}")
    serious = [finding.kind for finding in result.findings if finding.severity is Severity.SERIOUS]
    if strict and serious:
        raise GateError(f"{collection.root}: serious findings: {', '.join(serious)}")
