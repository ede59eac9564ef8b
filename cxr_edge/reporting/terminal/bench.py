"""What `bench` prints, and its record as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.errors import GateError
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, machine_line, markdown_table, percent, show, show_table

Table = tuple[str, list[str], list[list[str]], int]


def _figure(value: float | None, digits: int = 0, unit: float = 1.0) -> str:
    return "-" if value is None else f"{value / unit:.{digits}f}"


def _name(row: dict[str, Any]) -> str:
    return f"{'>' if row.get('winner') else ' '} {row['artifact']}"


def _latency(record: dict[str, Any]) -> Table:
    sweep = len(record["threads"]) > 1
    # 100 columns hold the one or the other.
    columns = ["  artifact", "runtime", *(["thr."] if sweep else []), "acc. %", "p50", "p90", "p99"]
    columns += [*([] if sweep else ["worst"]), "speed", "95 %"]
    rows = []
    for row in record["rows"]:
        interval = row["ratio_interval"]
        figures = ("p50_ms", "p90_ms", "p99_ms") if sweep else ("p50_ms", "p90_ms", "p99_ms", "worst_ms")
        rows.append(
            [
                _name(row),
                row["runtime"],
                *([str(row["threads"])] if sweep else []),
                percent(row["accuracy"]),
                *(f"{row[name]:.2f}" for name in figures),
                f"{row['speed_up']:.2f}x",
                # Of the ratio of latencies; that of their inverse has its ends exchanged.
                f"{1 / interval[1]:.2f}-{1 / interval[0]:.2f}" if interval else "",
            ]
        )
    threads = "" if sweep else f", {record['threads'][0]} threads"
    return f"Single-stream latency, {record['image_size']} px{threads}, ms", columns, rows, 2


def _resources(record: dict[str, Any]) -> Table:
    sweep = len(record["threads"]) > 1
    rows = []
    for row in record["rows"]:
        start, offline = row.get("startup", {}), row.get("throughput", {})
        rows.append(
            [
                _name(row),
                row["runtime"],
                *([str(row["threads"])] if sweep else []),
                _figure(row["bytes"], 1, 1e6),
                _figure(start.get("start_ms")),
                _figure(start.get("load_ms", row["load_ms"])),
                _figure(start.get("first_ms")),
                _figure(start.get("peak_memory_bytes"), 0, 2**20),
                _figure(row["energy_mj"]),
                _figure(offline.get("images_per_second")),
                offline.get("how", "-"),
            ]
        )
    columns = ["  artifact", "runtime", *(["thr."] if sweep else []), "MB", "start", "load", "first", "MiB", "mJ"]
    title = "File, start to first answer, loading, first inference (ms), peak memory, energy a query, throughput"
    return title, [*columns, "img/s", "by"], rows, 2


def _stages(record: dict[str, Any]) -> Table:
    found = record["from_files"]
    rows = [
        [row["stage"], *(f"{row[name]:.2f}" for name in ("p50_ms", "p90_ms", "worst_ms"))] for row in found["stages"]
    ]
    source = "your files" if found["source"] == "files" else "phantom files, 300 to 2500 px, PNG and JPEG"
    return (
        f"From file to answer, {found['files']} files ({source}), {found['id']}",
        ["stage", "p50 ms", "p90", "worst"],
        rows,
        1,
    )


def _tables(record: dict[str, Any]) -> list[Table]:
    tables = [_latency(record)]
    if any("startup" in row or "throughput" in row for row in record["rows"]):
        tables.append(_resources(record))
    return [*tables, _stages(record)]


def _remarks(record: dict[str, Any]) -> list[str]:
    queries = min(row["queries"] for row in record["rows"])
    folder, noise = record["from_files"]["folder"], record["noise"]
    lines = [
        f"speed: against {record['baseline']} with as many threads, with its 95 % interval; {queries} queries a row "
        "and more, interleaved; decode and resize not in it",
        f"a folder of these files: {folder['images_per_second']:.1f} images/s from file to answer, "
        f"{percent(folder['share'])} % of inference alone ({folder['inference_per_second']:.1f})",
    ]
    for row in record["rows"]:
        if placed := row.get("nodes_on"):
            parts = ", ".join(f"{count} nodes on {name}" for name, count in placed.items())
            lines.append(f"{row['id']}: {parts}")
    lines.append(
        f"the machine was too noisy to tell small differences: {'; '.join(noise['reasons'])}"
        if noise["noisy"]
        else f"the machine was quiet: rounds spread by {percent(noise['spread'])} %"
    )
    lines += [f"note: {note}" for note in record["notes"]]
    if record["trained_on"] == TrainingData.PHANTOMS:
        lines.append(f"Accuracy: {PHANTOM_NOTE}")
    return lines


def show_bench(record: dict[str, Any]) -> None:
    """The record of `cxr_edge.benchmarking.bench.bench`: fastest first, the winner marked."""
    show(machine_line(record["machine"]))
    for title, columns, rows, texts in _tables(record):
        show_table(title, columns, rows, texts)
    for line in _remarks(record):
        show(line)
    show(NOTICE)
    show(record["conclusion"])


def bench_markdown(record: dict[str, Any]) -> str:
    """The same as Markdown."""
    parts = [f"{record['conclusion']}\n", f"{machine_line(record['machine'])}; {record['date']}\n"]
    for title, columns, rows, _ in _tables(record):
        parts.append(f"**{title}**\n\n{markdown_table(columns, rows)}")
    parts.append("\n".join(f"- {line}" for line in [*_remarks(record), NOTICE]))
    return "\n".join(parts) + "\n"


def bench_csv(record: dict[str, Any]) -> str:
    """One line a row, each with what identifies the machine and the day; nested figures by dotted names."""
    shared = {name: record[name] for name in ("date", "image_size", "baseline")}
    shared |= {name: record["machine"][name] for name in ("cpu", "cores", "system")}
    flat = [{**shared, **_flattened(row)} for row in record["rows"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in flat for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flattened(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= _flattened(value, f"{prefix}{name}.")
        elif name != "rounds_ms":
            found[prefix + name] = " ".join(str(one) for one in value) if isinstance(value, list) else value
    return found


def show_comparison(rows: list[dict[str, Any]]) -> None:
    """From the result of `cxr_edge.benchmarking.compare.compare`."""
    show_table(
        "Against the old record",
        ["artifact", "thr.", "old ms", "new ms", "ratio", "95 %", "verdict"],
        [
            [
                row["id"],
                str(row["threads"]),
                _figure(row["old_ms"], 2),
                _figure(row["new_ms"], 2),
                _figure(row["ratio"], 3),
                "-".join(f"{bound:.3f}" for bound in row["interval"]) if row["interval"] else "",
                row["verdict"],
            ]
            for row in rows
        ],
    )


def gate_comparison(rows: list[dict[str, Any]]) -> None:
    """Raises GateError naming what became slower, or is no longer measured."""
    slower = [
        f"{row['id']} ({row['threads']} threads) {row['ratio']:.2f}" for row in rows if row["verdict"] == "slower"
    ]
    gone = [row["id"] for row in rows if row["verdict"] == "gone"]
    if slower or gone:
        parts = [f"slower than the old record: {', '.join(slower)}"] if slower else []
        parts += [f"in the old record and not measured now: {', '.join(gone)}"] if gone else []
        raise GateError("; ".join(parts))
