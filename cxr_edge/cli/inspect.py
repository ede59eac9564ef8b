"""`cxr-edge inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption, SignatureOption


def command(
    artifact: Annotated[
        Path, typer.Argument(help="A .tflite or .onnx file, of this project or not, or the bundle of a cascade.")
    ],
    require_signature: SignatureOption = None,
    json: JsonOption = None,
) -> None:
    """Show what an artifact is: contract, metadata, and how much of it really computes in integers."""
    from cxr_edge.files import write_json
    from cxr_edge.inspection.inspect import CascadeInspection, Inspection, inspect, inspect_cascade
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.inspection import show_cascade, show_inspection

    inspection: Inspection | CascadeInspection
    if artifact.is_dir():
        inspection = inspect_cascade(artifact)
        show_cascade(inspection)
    else:
        inspection = inspect(artifact)
        show_inspection(inspection)
    if json is not None:
        write_json(json, to_json(inspection))
