"""`cxr-edge web`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.options import BundleOption, RunOption, SignatureOption

if TYPE_CHECKING:
    from cxr_edge.web.folder import WrittenPage


USUAL_PORT = 8000


def command(
    bundle: BundleOption = None,
    run: RunOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", help="Write the page to this new folder, for any web server.", metavar="DIR"),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page to browsers on this machine.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", help="Port of --serve; 0 takes any free one.", min=0, max=65535, show_default=str(USUAL_PORT)
        ),
    ] = None,
    require_signature: SignatureOption = None,
) -> None:
    """Write a bundle as a web page that classifies X-rays in the browser, offline, and sends nothing anywhere.

    The page uses the bundle's best ONNX file, and for WebGPU a float one if there is any. To leave
    that out, write a smaller bundle first, with cxr-edge bundle.
    """
    import tempfile

    from cxr_edge.errors import OptionError
    from cxr_edge.reporting.terminal.web import show_page
    from cxr_edge.runtimes.selection import artifacts_of_bundle, find_bundle
    from cxr_edge.web.folder import models_for_browsers, write_page
    from cxr_edge.web.page import built_page

    if out is None and not serve:
        raise OptionError("add --output DIR to write the page there, or --serve to open it here")
    if port is not None and not serve:
        raise OptionError("--port needs --serve")
    models = models_for_browsers(artifacts_of_bundle(find_bundle(bundle, run)))
    page = built_page()
    with tempfile.TemporaryDirectory() as temporary:
        written = write_page(page, models, out or Path(temporary) / "page")
        show_page(written, kept=out is not None)
        if serve:
            _serve(written, USUAL_PORT if port is None else port)


def _serve(written: WrittenPage, port: int) -> None:
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.web.server import PageServer

    server = PageServer(written.folder, port)
    show(f"{server.url} (Ctrl-C ends it)")
    try:
        server.serve()
    except KeyboardInterrupt:
        # The normal way to end it, not a failure.
        return
