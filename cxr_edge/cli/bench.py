"""`cxr-edge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.options import BundleOption, JsonOption, RunOption


def command(
    bundle: BundleOption = None,
    run: RunOption = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            help="Repeatable; cxr-edge devices lists them.",
            show_default="all installed, on the CPU",
            metavar="litert|onnx|openvino|keras|onnx:cuda|...",
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images", help="Image file or folder to classify; repeatable.", show_default="phantoms", metavar="PATH"
        ),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads",
            help="Threads of one inference; several numbers are a sweep.",
            show_default="all",
            metavar="1,2,4,all",
        ),
    ] = None,
    queries: Annotated[int, typer.Option("--queries", help="Least number of counted queries a row.", min=5)] = 50,
    seconds: Annotated[float, typer.Option("--seconds", help="Least time of counted queries a row.", min=0)] = 2.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under 20 seconds: few queries, no Keras, no start-up, no throughput.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Row that the others are compared with.",
            show_default="Keras, or a float artifact",
            metavar="ARTIFACT[@RUNTIME]",
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="Earlier --json; exit status 3 where a row became slower.", metavar="OLD.json"),
    ] = None,
    json: JsonOption = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Also as Markdown.", metavar="FILE")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also as CSV.", metavar="FILE")] = None,
) -> None:
    """Measure every artifact on every runtime: latency, throughput, start-up, memory, and from file to answer."""
    from cxr_edge.benchmarking.command import Outputs, run_bench
    from cxr_edge.runtimes.selection import find_bundle

    chosen = tuple(runtimes) if runtimes else None
    outputs = Outputs(json, markdown, csv, compare)
    run_bench(
        find_bundle(bundle, run), chosen, tuple(images or ()), threads, queries, seconds, quick, baseline, outputs
    )
