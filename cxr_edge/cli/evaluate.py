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
            "--data",
            help="Folder with one folder per class, or a table of path,label; of one that is split, the test part.",
            show_default="the run's test split",
            metavar="DIR|FILE.csv",
        ),
    ] = None,
    run: RunOption = None,
    on_bad_image: Annotated[
        str,
        typer.Option(
            "--on-bad-image", help="Refuse images that cannot be decoded, or leave them out.", metavar="skip|fail"
        ),
    ] = "fail",
    json: JsonOption = None,
) -> None:
    """Classification metrics of an artifact, or of a run's Keras model, on labelled images."""
    from cxr_edge.evaluation.metrics import ClassificationMetrics
    from cxr_edge.files import write_json
    from cxr_edge.prediction.evaluate import evaluate
    from cxr_edge.reporting.terminal.metrics import show_metrics, show_skipped
    from cxr_edge.reporting.terminal.operating import show_calibration, show_evaluated_point

    metrics = evaluate(artifact, data, run, on_bad_image)
    title = f"{metrics['model']}, {metrics['part']}"
    show_metrics(ClassificationMetrics.from_json(metrics), title, metrics["data"] == "phantoms")
    show_calibration(metrics["calibration_error"])
    if point := metrics["operating_point"]:
        show_evaluated_point(point)
    show_skipped([skipped["reason"] for skipped in metrics["skipped"]], "--json lists them all")
    if json is not None:
        write_json(json, metrics)
