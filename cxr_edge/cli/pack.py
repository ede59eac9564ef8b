"""`cxr-edge pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.", metavar="BUNDLE")],
    output: Annotated[
        Path | None, typer.Option("--output", help="Zip to write.", show_default="BUNDLE.zip", metavar="FILE.zip")
    ] = None,
) -> None:
    """Write a bundle to one zip file for cxr-edge install; equal bundles give equal bytes."""
    from cxr_edge.files import sha256_of
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.updates.archive import pack

    folder = bundle.resolve()
    packed = pack(bundle, output or folder.with_name(f"{folder.name}.zip"))
    size = packed.path.stat().st_size / 1e6
    show(f"{packed.path}: {packed.release or 'not released'}; {len(packed.files)} files, {size:.1f} MB")
    show(f"SHA-256 {sha256_of(packed.path)}")
