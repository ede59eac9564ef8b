"""`cxr-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import JsonOption, RunOption


def command(
    artifact: Annotated[
        Path | None, typer.Argument(help="A .tflite or .onnx artifact.", show_default="the run's Keras model")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder with a folder a class.", show_default="the run's test split", metavar="DIR"
        ),
    ] = None,
    run: RunOption = None,
    json: JsonOption = None,
) -> None:
    """Classification metrics of an artifact, or of a run's Keras model, on labelled images."""
    from cxr_edge.evaluation.evaluate import evaluate
    from cxr_edge.files import write_json
    from cxr_edge.reporting.tables import show_metrics

    metrics = evaluate(artifact, data, run)
    show_metrics(metrics, f"{metrics['model']}, {metrics['part']}")
    if json is not None:
        write_json(json, metrics)
