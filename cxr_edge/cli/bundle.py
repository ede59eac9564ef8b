"""`cxr-edge bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import BundleOption, RunOption


def command(
    only: Annotated[
        list[str],
        typer.Option(
            "--only",
            help="Artifacts to keep: a file name, int8.tflite, int8, tflite, ... Repeatable.",
            metavar="NAME",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder of the new bundle.", metavar="DIR")],
    bundle: BundleOption = None,
    run: RunOption = None,
) -> None:
    """Write a smaller bundle: some of a bundle's artifacts, with manifest, reference inputs and model card."""
    from cxr_edge.artifacts.part import matching, write_part
    from cxr_edge.reporting.card.card import update_card
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import artifacts_of_bundle, find_bundle

    whole = find_bundle(bundle, run)
    artifacts = matching(artifacts_of_bundle(whole).artifacts, only)
    write_part(artifacts, output)
    for note in update_card(output, whole).notes:
        show(note)
    megabytes = sum(path.stat().st_size for path in output.iterdir()) / 1e6
    show(f"bundle: {output}, {megabytes:.1f} MB: {', '.join(artifact.name for artifact in artifacts)}")
    show(f"next, on the device: cxr-edge verify --bundle {output.name}")
