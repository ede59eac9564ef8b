"""`cxr-edge install`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import SignatureOption


def command(
    archive: Annotated[Path, typer.Argument(help="Zip file that cxr-edge pack wrote.", metavar="BUNDLE.zip")],
    into: Annotated[Path, typer.Option("--into", help="Folder to install into.", metavar="DIR")],
    require_signature: SignatureOption = None,
    allow_downgrade: Annotated[
        bool,
        typer.Option(
            "--allow-downgrade",
            help="Accept a version older than one seen on this device, another model, or a bundle without a release.",
        ),
    ] = False,
    max_p90: Annotated[
        float | None,
        typer.Option(
            "--max-p90", help="Refuse a bundle if the 90th percentile of its latency here is longer.", metavar="MS"
        ),
    ] = None,
) -> None:
    """Install a packed bundle on this device if it computes what was validated and is not older than the last one.

    The signature (with --require-signature), version, hashes and schema are checked, and the reference outputs replayed
    on the runtimes here. Then the bundle replaces the previous one atomically. Exit status 3 if it computes something
    else or is too slow.
    """
    from cxr_edge.reporting.terminal.parity import show_replay
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.reporting.terminal.updates import show_active
    from cxr_edge.updates.install import install

    installed = install(archive, into, require_signature, allow_downgrade, max_p90)
    if installed.proof is None:
        show("this bundle is active already")
    else:
        show_replay(installed.proof.replayed)
        if installed.proof.p90_ms is not None:
            show(f"p90 of one inference: {installed.proof.p90_ms:.1f} ms")
    show_active(installed, into)
