"""What `bench` prints, and its record as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.benchmarking.compare import ComparedRow
from cxr_edge.benchmarking.conclusion import noise_remark
from cxr_edge.benchmarking.files import ImageSource
from cxr_edge.benchmarking.ratios import Speed
from cxr_edge.benchmarking.record import BenchRecord, Row
from cxr_edge.records import JsonObject, to_json
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, machine_line, markdown_table, percent, show, show_table
from cxr_edge.runtimes.base import every_runtime
from cxr_edge.wording import counted


@dataclass(frozen=True)
class _Table:
    """A table whose first `texts` columns are text, and whose others are figures."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    texts: int


def _figure(value: float | None, digits: int = 0, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"


def _milliseconds(value: float) -> str:
    """Milliseconds: two decimals below 10, otherwise one."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def _named(record: BenchRecord, row: Row) -> list[str]:
    """The columns that identify a row; in a sweep, with its threads."""
    threads = [str(row.threads)] if len(record.threads) > 1 else []
    return [f"{'>' if row.winner else ' '} {row.artifact}", row.runtime, *threads]


def _naming(record: BenchRecord) -> list[str]:
    return ["  artifact", "runtime", *(["thr."] if len(record.threads) > 1 else [])]


def speed_cell(row: Row) -> str:
    """The speed against the baseline, with a question mark if the difference is not established."""
    return f"{row.speed_up:.2f}x" + ("?" if row.speed is Speed.UNDECIDED else "")


def _latency(record: BenchRecord) -> _Table:
    sweep = len(record.threads) > 1
    # 80 columns have room for the number of threads or the worst query, with the interval below the speed.
    columns = [*_naming(record), "acc. %", "p50", "p90", "p99", *([] if sweep else ["worst"]), "speed, 95 %"]
    rows = []
    for row in record.rows:
        interval = row.speed_interval
        figures = [row.p50_ms, row.p90_ms, row.p99_ms, *([] if sweep else [row.worst_ms])]
        rows.append(
            [
                *_named(record, row),
                percent(row.accuracy),
                *map(_milliseconds, figures),
                speed_cell(row) + (f" {interval[0]:.2f}-{interval[1]:.2f}" if interval else ""),
            ]
        )
    threads = "" if sweep else f", {counted(record.threads[0], 'thread')}"
    return _Table(f"Single-stream latency, {record.image_size} px{threads}, ms", columns, rows, 2)


def _resources(record: BenchRecord) -> _Table:
    rows, energy = [], any(row.energy_mj is not None for row in record.rows)
    for row in record.rows:
        start, offline = row.startup, row.throughput
        rows.append(
            [
                *_named(record, row),
                _figure(row.bytes, 1, 1e6),
                _figure(start.start_ms if start else None),
                _figure(start.load_ms if start else row.load_ms),
                _figure(start.first_ms if start else None),
                _figure(start.peak_memory_bytes if start else None, 0, 2**20),
                *([_figure(row.energy_mj)] if energy else []),
                f"{offline.images_per_second:.0f} ({offline.how})" if offline else "-",
            ]
        )
    columns = [*_naming(record), "MB", "start", "load", "first", "MiB", *(["mJ"] if energy else []), "img/s"]
    title = (
        "Size; ms from start to first answer, to load, and of the first inference; peak memory; "
        f"{'energy per query; ' if energy else ''}throughput"
    )
    return _Table(title, columns, rows, 2)


def _stages(record: BenchRecord) -> _Table:
    times = record.from_files
    rows = [[stage.stage, *map(_milliseconds, (stage.p50_ms, stage.p90_ms, stage.worst_ms))] for stage in times.stages]
    source = "your files" if times.source is ImageSource.FILES else "phantom files, 300 to 2500 px, PNG and JPEG"
    title = f"From file to answer, {times.files} files ({source}), {times.id}"
    return _Table(title, ["stage", "p50 ms", "p90", "worst"], rows, 1)


def _tables(record: BenchRecord) -> list[_Table]:
    tables = [_latency(record)]
    if any(row.startup or row.throughput for row in record.rows):
        tables.append(_resources(record))
    return [*tables, _stages(record)]


def _remarks(record: BenchRecord) -> list[str]:
    queries = min(row.queries for row in record.rows)
    folder = record.from_files.folder
    lines = [
        f"speed: relative to {record.baseline} with as many threads, with 95 % interval; at least {queries} queries "
        "per row, interleaved; without decode and resize",
    ]
    if any(row.speed is Speed.UNDECIDED for row in record.rows):
        lines.append("?: not proven to differ from the baseline: the interval includes 1, or too few rounds were run")
    lines.append(
        f"a folder of these files: {folder.images_per_second:.1f} images/s from file to answer, "
        f"{percent(folder.share)} % of inference alone ({folder.inference_per_second:.1f})"
    )
    lines += [_cascade_remark(record, row) for row in record.rows if row.escalated is not None]
    lines += [remark for row in record.rows for remark in _accelerator_remarks(row)]
    lines.append(noise_remark(record.noise))
    lines += [f"note: {warning.text}" for warning in record.warnings]
    if record.trained_on is TrainingData.PHANTOMS:
        lines.append(f"Accuracy: {PHANTOM_NOTE}")
    return lines


def _accelerator_remarks(row: Row) -> list[str]:
    """The nodes that an accelerator runs, and how it computes an int8 file."""
    remarks = []
    if row.nodes_on:
        parts = ", ".join(f"{count} nodes on {name}" for name, count in row.nodes_on.items())
        remarks.append(f"{row.id}: {parts}")
    option = row.id.rpartition("@")[2]
    support = next((runtime.int8 for runtime in every_runtime() if runtime.option == option), None)
    if support is not None and row.quantization.is_integer:
        remarks.append(f"int8 on {option}: {support}")
    return remarks


def _cascade_remark(record: BenchRecord, row: Row) -> str:
    base = record.baseline_of(row)
    return (
        f"{row.id}: {percent(row.escalated)} % of the queries went on to the full model; mean "
        f"{_milliseconds(row.mean_ms)} ms, worst {_milliseconds(row.worst_ms)}, versus {_milliseconds(base.mean_ms)} "
        f"and {_milliseconds(base.worst_ms)} for {base.id}. Speed compares means here: a median hides slow images"
    )


def show_bench(record: BenchRecord) -> None:
    """Print the rows, fastest first, with the winner marked; the conclusion is the last line."""
    show(machine_line(record.machine))
    for table in _tables(record):
        show_table(table.title, table.columns, table.rows, table.texts)
    for line in _remarks(record):
        show(line)
    show(record.notice)
    show(record.conclusion)


def bench_markdown(record: BenchRecord) -> str:
    """A record as Markdown; the conclusion is the first line."""
    parts = [f"{record.conclusion}\n", f"{machine_line(record.machine)}; {record.date}\n"]
    for table in _tables(record):
        parts.append(f"**{table.title}**\n\n{markdown_table(table.columns, table.rows)}")
    parts.append("\n".join(f"- {line}" for line in [*_remarks(record), record.notice]))
    return "\n".join(parts) + "\n"


def bench_csv(record: BenchRecord) -> str:
    """One line per row, each identifying the machine and the day; nested figures have dotted names."""
    machine = record.machine
    shared = {"date": record.date, "image_size": record.image_size, "baseline": record.baseline}
    shared |= {"cpu": machine.cpu, "cores": machine.cores, "system": machine.system}
    lines = [{**shared, **_flattened(to_json(row))} for row in record.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flattened(row: JsonObject, prefix: str = "") -> JsonObject:
    flat: JsonObject = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flattened(value, f"{prefix}{name}.")
        elif name != "rounds_ms":
            flat[prefix + name] = " ".join(str(part) for part in value) if isinstance(value, list) else value
    return flat


def show_comparison(rows: Sequence[ComparedRow]) -> None:
    """The rows of an old record and a new one, side by side."""
    show_table(
        "Against the old record",
        ["artifact", "thr.", "old ms", "new ms", "ratio", "95 %", "verdict"],
        [
            [
                row.id,
                str(row.threads),
                _figure(row.old_ms, 2),
                _figure(row.new_ms, 2),
                _figure(row.ratio, 3),
                "-".join(f"{bound:.3f}" for bound in row.interval) if row.interval else "",
                row.verdict,
            ]
            for row in rows
        ],
    )
