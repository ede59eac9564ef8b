"""`cxr-edge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import BundleOption, JsonOption, RunOption, ThreadsOption


def command(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    artifact: Annotated[
        Path | None,
        typer.Option("--artifact", help="A .tflite or .onnx file.", show_default="the bundle's best", metavar="FILE"),
    ] = None,
    bundle: BundleOption = None,
    run: RunOption = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            help="auto measures once which is fastest here.",
            show_default="auto",
            metavar="auto|litert|onnx|openvino|onnx:cuda|...",
        ),
    ] = None,
    threads: ThreadsOption = None,
    heatmap: Annotated[
        Path | None,
        typer.Option(
            "--heatmap",
            help="Draw what speaks for the top class over the X-ray: a PNG, or a folder for several images.",
            metavar="FILE|DIR",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Classify images with one artifact."""
    from cxr_edge.files import write_json
    from cxr_edge.prediction.predict import predict
    from cxr_edge.reporting.terminal.predictions import show_predictions

    result = predict(images, artifact, bundle, run, runtime, threads, heatmap)
    show_predictions(result)
    if json is not None:
        write_json(json, result)
