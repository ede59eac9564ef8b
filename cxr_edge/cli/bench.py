"""`cxr-edge bench`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.options import ArtifactsOption, BundleOption, JsonOption, RunOption, SignatureOption

if TYPE_CHECKING:
    from cxr_edge.benchmarking.record import BenchRecord
    from cxr_edge.runs import Run
    from cxr_edge.runtimes.selection import Selection


_Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime",
        help="Repeatable; cxr-edge devices lists them.",
        show_default="all installed, on the CPU",
        metavar="litert|onnx|openvino|keras|onnx:cuda|...",
    ),
]
_Images = Annotated[
    list[Path] | None,
    typer.Option(
        "--images", help="Image file or folder to classify; repeatable.", show_default="phantoms", metavar="PATH"
    ),
]
_Threads = Annotated[
    str | None,
    typer.Option(
        "--threads",
        help="Threads per inference; several numbers make a sweep.",
        show_default="all",
        metavar="1,2,4,all",
    ),
]
_Queries = Annotated[
    int | None,
    typer.Option(
        "--queries", help="Minimum number of measured queries per row.", min=5, show_default="50; with --quick 5"
    ),
]
_Seconds = Annotated[
    float | None,
    typer.Option(
        "--seconds", help="Minimum seconds of measured queries per row.", min=0, show_default="2; with --quick 0.25"
    ),
]
_Quick = Annotated[
    bool, typer.Option("--quick", help="Under 20 seconds: few queries, no Keras, no start-up, no throughput.")
]
_Baseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="Row that the others are compared with.",
        show_default="Keras, or a float artifact",
        metavar="ARTIFACT[@RUNTIME]",
    ),
]
_Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        help="Earlier --json file to compare with; exit status 3 if a row became slower.",
        metavar="OLD.json",
    ),
]
_Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Also write the tables as Markdown.", metavar="FILE")
]
_Csv = Annotated[Path | None, typer.Option("--csv", help="Also write the rows as CSV.", metavar="FILE")]


def command(
    artifacts: ArtifactsOption = None,
    bundle: BundleOption = None,
    run: RunOption = None,
    runtimes: _Runtimes = None,
    images: _Images = None,
    threads: _Threads = None,
    queries: _Queries = None,
    seconds: _Seconds = None,
    quick: _Quick = False,
    baseline: _Baseline = None,
    compare: _Compare = None,
    require_signature: SignatureOption = None,
    json: JsonOption = None,
    markdown: _Markdown = None,
    csv: _Csv = None,
) -> None:
    """Measure every artifact on every runtime: latency, throughput, start-up, memory, and time from file to answer."""
    from cxr_edge.benchmarking.bench import bench
    from cxr_edge.benchmarking.compare import compare as compare_records
    from cxr_edge.benchmarking.compare import require_comparable, require_no_regression
    from cxr_edge.benchmarking.options import BenchOptions, parse_threads
    from cxr_edge.benchmarking.record import read_record
    from cxr_edge.console import stage
    from cxr_edge.machine import describe_machine
    from cxr_edge.reporting.terminal.bench import show_bench, show_comparison
    from cxr_edge.runtimes.selection import select

    old = read_record(compare) if compare is not None else None
    options = BenchOptions(
        tuple(runtimes) if runtimes else None,
        tuple(images or ()),
        parse_threads(threads),
        baseline=baseline,
    )
    if quick:
        options = options.quickly()
    if queries is not None:
        options = replace(options, queries=queries)
    if seconds is not None:
        options = replace(options, seconds=seconds)
    selection = select(artifacts or (), bundle, run)
    if old is not None:
        require_comparable(old, describe_machine(), selection.artifacts[0].image_size)
    record = bench(selection, options, stage)
    show_bench(record)
    _write(record, selection, json, markdown, csv)
    if old is not None:
        rows = compare_records(old, record)
        show_comparison(rows)
        require_no_regression(rows)


def _has_thorough_record(run: Run, selection: Selection) -> bool:
    """Whether a run has a record of the selected files, which a quick one must not replace."""
    from cxr_edge.benchmarking.record import read_record
    from cxr_edge.errors import CxrEdgeError

    hashes = {file.sha256 for artifact in selection.artifacts for file in (artifact, *artifact.members)}
    try:
        record = read_record(run.bench_file)
    except (CxrEdgeError, OSError):
        return False
    return not record.quick and record.is_of(hashes)


def _write(
    record: BenchRecord, selection: Selection, json: Path | None, markdown: Path | None, csv: Path | None
) -> None:
    """Write the requested files, and, for a run's bundle, the record for the run's report."""
    from cxr_edge.files import write_json, write_text
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.bench import bench_csv, bench_markdown
    from cxr_edge.runs import Run

    content = to_json(record)
    if selection.folder is not None:
        run = Run(selection.folder.resolve().parent)
        if run.config_file.is_file() and not (record.quick and _has_thorough_record(run, selection)):
            write_json(run.bench_file, content)
    if json is not None:
        write_json(json, content)
    if markdown is not None:
        write_text(markdown, bench_markdown(record))
    if csv is not None:
        write_text(csv, bench_csv(record))
