"""What `cxr-edge bench` does around the measurement itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr_edge.benchmarking.bench import BenchOptions, bench
from cxr_edge.benchmarking.compare import compare, read_record
from cxr_edge.errors import OptionError
from cxr_edge.files import write_json, write_text
from cxr_edge.machine import usable_cores
from cxr_edge.reporting.terminal.bench import bench_csv, bench_markdown, gate_comparison, show_bench, show_comparison
from cxr_edge.runs import Run


@dataclass(frozen=True)
class Outputs:
    """Files to write the record to, and an old one to compare it with."""

    json: Path | None = None
    markdown: Path | None = None
    csv: Path | None = None
    compare: Path | None = None


def parsed_threads(text: str | None) -> tuple[int, ...]:
    """`1,2,4,all` as numbers; none for None. Raises OptionError for anything else."""
    found = []
    for word in (text or "").split(","):
        if word.strip().lower() == "all":
            found.append(usable_cores())
        elif word.strip().isdigit() and int(word) > 0:
            found.append(int(word))
        elif text is not None:
            raise OptionError(f"--threads {text}: numbers from 1 on, or all, with commas between them")
    return tuple(dict.fromkeys(found))


def run_bench(
    folder: Path,
    runtimes: tuple[str, ...] | None,
    images: tuple[Path, ...],
    threads: str | None,
    queries: int,
    seconds: float,
    quick: bool,
    baseline: str | None,
    outputs: Outputs,
) -> None:
    """Measure, show, write, and fail with GateError where something became slower than in the old record."""
    old = read_record(outputs.compare) if outputs.compare is not None else None
    options = BenchOptions(runtimes, images, parsed_threads(threads), queries, seconds, baseline)
    record = bench(folder, options.quickly() if quick else options)
    show_bench(record)
    own = Run(folder.resolve().parent)
    if own.config_file.is_file() and not quick:
        # For the run's report.
        write_json(own.bench_file, record)
    if outputs.json is not None:
        write_json(outputs.json, record)
    if outputs.markdown is not None:
        write_text(outputs.markdown, bench_markdown(record))
    if outputs.csv is not None:
        write_text(outputs.csv, bench_csv(record))
    if old is not None:
        rows = compare(old, record)
        show_comparison(rows)
        gate_comparison(rows)
