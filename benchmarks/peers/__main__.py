"""The peers, side by side: speed, size and accuracy of this project's files and of other tools' int8, in one run.

    python -m benchmarks.peers [--run DIR] [--work DIR] [--images N] [--queries N] [--seconds S] [--json FILE]

The run's bundle should hold none, int8 and int8-ptq in both formats (`cxr-edge export --quantize all`); the peers'
tools come with `pip install 'cxr-edge[peers]'`, but for the `litert` command (`pipx install 'litert-cli[quantize]'`).
All peers are calibrated on the images that ours were calibrated on. Everything is measured interleaved, first with one
thread, then with all that are usable; OpenVINO computes what is not int8 in float32, as the others do. The peers' files
are kept in the work folder, and remade when a tool or the bundle has changed.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.peers.build import PEERS, build_peers, versions_of
from benchmarks.peers.measure import KERAS, Plan, Row, measure_rows
from benchmarks.peers.report import show_rows, show_targets
from benchmarks.peers.targets import LATENCY_TARGETS, judge_latency, judge_size
from cxr_edge import __version__
from cxr_edge.data.split import run_split
from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.processors import usable_cores
from cxr_edge.records import JsonObject, to_json
from cxr_edge.runs import Run, find_run

_OURS = (
    ("float32", "tflite", "litert"),
    ("float32", "onnx", "onnx_runtime"),
    ("float32", "onnx", "openvino_runtime"),
    ("int8", "tflite", "litert"),
    ("int8", "tflite", "openvino_runtime"),
    ("int8", "onnx", "onnx_runtime"),
    ("int8", "onnx", "openvino_runtime"),
    # As fast as int8, but post-training as the peers are: its accuracy is the one to compare theirs with.
    ("int8-ptq", "tflite", "litert"),
    ("int8-ptq", "onnx", "onnx_runtime"),
)


def rows_of(run: Run, work: Path) -> list[Row]:
    """Every row of the comparison, whether its file is there or not; the trained model first."""
    rows = [Row(KERAS, "the trained model", KERAS, str(run.model_file), ours=False)]
    for quantization, kind, runtime in _OURS:
        title = f"ours: {quantization} {kind.replace('tfl', 'TFL').replace('onnx', 'ONNX')}"
        file = run.bundle / f"xception-{quantization}.{kind}"
        rows.append(Row(f"{quantization}.{kind}/{runtime}", title, runtime, str(file), ours=True))
    rows += [Row(peer.name, peer.title, peer.runtime, str(peer.path(work)), ours=False) for peer in PEERS]
    return rows


def _size(file: Path) -> int:
    """Bytes of a model; OpenVINO keeps the weights beside the .xml."""
    return file.stat().st_size + (file.with_suffix(".bin").stat().st_size if file.suffix == ".xml" else 0)


def compare(run: Run, work: Path, images: int | None, queries: int, seconds: float) -> JsonObject:
    """Build, score and measure everything.

    Args:
        run: trained and exported.
        work: folder of the peers' files.
        images: how many test images to score on; None for all.
        queries, seconds: least number and least total time of counted queries per row.

    Returns:
        JSON-ready `threads`, `images`, `rows` and `targets`. A row that could not be built or run has its `reason`.
    """
    reasons = build_peers(run, work)
    rows = rows_of(run, work)
    for row in rows:
        if row.ours and not Path(row.file).is_file():
            reasons[row.name] = "not in the bundle: cxr-edge export --quantize all"
    able = [row for row in rows if row.name not in reasons]
    record: dict[str, JsonObject] = {
        row.name: {
            "name": row.name,
            "title": row.title,
            "runtime": row.runtime,
            "ours": row.ours,
            "file": Path(row.file).name,
            "bytes": _size(Path(row.file)) if row in able else None,
            "accuracy": None,
            "agreement": None,
            "reason": reasons.get(row.name),
            "latency": {},
        }
        for row in rows
    }
    threads = sorted({1, usable_cores()})
    targets = []
    for count in threads:
        results = measure_rows(Plan(str(run.folder), able, count, images, count == threads[-1], queries, seconds))
        blocks = {name: np.array(figures.pop("blocks")) for name, figures in results.items() if "blocks" in figures}
        best_peer = min(float(np.median(blocks[row.name])) for row in able if not row.ours and row.name in blocks)
        for name, figures in results.items():
            if name in blocks:
                p50, p90 = np.percentile(blocks[name], [50, 90])
                record[name]["latency"][str(count)] = {
                    "queries": blocks[name].size,
                    "p50_ms": float(p50),
                    "p90_ms": float(p90),
                    "load_ms": figures.pop("load_ms"),
                    "ratio_to_best_peer": float(p50) / best_peer,
                }
            record[name] |= figures
        targets += [{"threads": count, **judge_latency(target, blocks)} for target in LATENCY_TARGETS]
    sizes = {name: row["bytes"] for name, row in record.items() if row["bytes"] is not None}
    targets += [{"threads": None, **judged} for judged in judge_size(sizes)]
    available = len(run_split(run).part("test"))
    return {
        "threads": threads,
        "images": min(images or available, available),
        "rows": list(record.values()),
        "targets": targets,
    }


def _peer_versions() -> dict[str, str]:
    """Of every package that makes a peer's file, those installed."""
    versions: dict[str, str] = {}
    for peer in PEERS:
        with suppress(RuntimeError):
            versions |= versions_of(peer)
    return dict(sorted(versions.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--work", type=Path, help="folder of the peers' files; default: peers/ in the run")
    parser.add_argument("--images", type=int, help="test images to score on, a stratified choice; default: all")
    parser.add_argument("--queries", type=int, default=100, help="minimum number of measured queries per row")
    parser.add_argument("--seconds", type=float, default=4.0, help="minimum seconds of measured queries per row")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = find_run(options.run)
    config = run.config()
    record = {
        "cxr_edge": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": to_json(describe_machine()),
        "peer_packages": _peer_versions(),
        "image_size": config.options.image_size,
        "trained_on": "phantoms" if config.phantoms else "images",
        "settings": {"queries": options.queries, "seconds": options.seconds},
        **compare(run, options.work or run.folder / "peers", options.images, options.queries, options.seconds),
    }
    show_rows(record)
    show_targets(record["targets"])
    if options.json:
        write_json(options.json, record)


if __name__ == "__main__":
    main()
