"""`cxr-edge rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import SignatureOption


def command(
    folder: Annotated[Path, typer.Argument(help="Folder that cxr-edge install wrote to.", metavar="DIR")],
    require_signature: SignatureOption = None,
) -> None:
    """Return to the previously active bundle."""
    from cxr_edge.reporting.terminal.updates import show_active
    from cxr_edge.updates.install import rollback

    show_active(rollback(folder, require_signature), folder)
