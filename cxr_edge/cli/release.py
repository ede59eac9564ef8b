"""`cxr-edge release`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.", metavar="BUNDLE")],
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            help="Private Ed25519 key (PEM). Its password, if any, is read from CXR_EDGE_KEY_PASSWORD.",
            metavar="FILE",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the model, the same for all its releases.")],
    version: Annotated[int, typer.Option("--version", help="Must be higher than that of the previous release.", min=1)],
) -> None:
    """Sign a bundle for devices that require a signature: its files as they are now, the model's name and version."""
    from cxr_edge.artifacts.release import SIGNATURE
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.updates.release import release

    released = release(bundle, key, name, version)
    for signed in released.files:
        show(f"{signed.sha256}  {signed.file}{f'  parity {signed.verdict}' if signed.verdict else ''}")
    show(f"{bundle / SIGNATURE}: {released}, {len(released.files)} files signed")
