"""`cxr-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import BundleOption, JsonOption, RunOption, ThreadsOption


def command(
    bundle: BundleOption = None,
    run: RunOption = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", help="Repeatable.", show_default="all installed", metavar="litert|onnx|openvino|keras"
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="Image file or folder to classify; repeatable.", show_default="phantoms", metavar="PATH"
        ),
    ] = None,
    threads: ThreadsOption = None,
    queries: Annotated[int, typer.Option("--queries", help="Least number of counted queries a row.", min=5)] = 50,
    seconds: Annotated[float, typer.Option("--seconds", help="Least time of counted queries a row.", min=0)] = 2.0,
    json: JsonOption = None,
) -> None:
    """Measure single-stream latency of every artifact on every runtime installed, interleaved."""
    from cxr_edge.benchmarking.bench import bench
    from cxr_edge.files import write_json
    from cxr_edge.locate import find_bundle
    from cxr_edge.reporting.bench import show_bench
    from cxr_edge.runs import Run

    folder = find_bundle(bundle, run)
    record = bench(folder, runtimes, images or [], threads, queries, seconds)
    show_bench(record)
    own = Run(folder.resolve().parent)
    if own.config_file.is_file():
        # For the run's report.
        write_json(own.bench_file, record)
    if json is not None:
        write_json(json, record)
