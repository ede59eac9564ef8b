"""Accuracy against latency of int8 files, on one thread: models of several sizes, students, cascades and other tools'.

    python -m benchmarks.tradeoff --bundle DIR [--bundle DIR] [--peers RUN] --data DIR --json FILE

Each bundle's int8 files, or its cascade, and with `--peers` what other tools make of a run's model
(`benchmarks.peers`), are scored on the same labelled images, which nothing was trained or chosen on, and timed
interleaved. `python -m documentation` draws the plot from every record in `benchmarks/results/tradeoff/`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.build import PEERS, build_peers
from benchmarks.peers.session import peer_session
from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.benchmarking.latency import Candidate, Latency, measure, mixed_order, rounds_of
from cxr_edge.benchmarking.noise import Noise, judge_noise, read_clock
from cxr_edge.console import progress_bar
from cxr_edge.errors import first_line
from cxr_edge.evaluation.conditions import OtherImages, read_other_images
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.files import write_json
from cxr_edge.intervals import wilson_interval
from cxr_edge.machine import Machine, describe_machine
from cxr_edge.records import to_json
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.runs import find_run
from cxr_edge.runtimes.base import Session, runtime_named, runtimes_for
from cxr_edge.runtimes.loaded import joined, load_artifact

THREADS = 1


class Kind(StrEnum):
    """What a point of the plot is."""

    FULL = "full model"
    STUDENT = "student"
    CASCADE = "cascade"
    PEER = "other tool"


@dataclass(frozen=True)
class Entrant:
    """A file, or a cascade, on a runtime; `sizes` are those of the pictures that it takes."""

    kind: Kind
    title: str
    runtime: str
    sizes: tuple[int, ...]
    bytes: int
    load: Callable[[], Session]


@dataclass(frozen=True)
class Point:
    """An entrant with its accuracy and its latency; of a cascade the mean counts, as a median hides its slow images."""

    kind: Kind
    title: str
    runtime: str
    image_size: int
    bytes: int
    right: int
    images: int
    latency: Latency

    @property
    def one_figure_ms(self) -> float:
        return self.latency.mean_ms if self.kind is Kind.CASCADE else self.latency.p50_ms


@dataclass(frozen=True)
class TradeoffRecord:
    """What `--json` writes."""

    cxr_edge: str
    date: str
    command: tuple[str, ...]
    machine: Machine
    threads: int
    images_of: str
    noise: Noise
    points: tuple[Point, ...]


@dataclass(frozen=True)
class _ByNumber:
    """A session that takes the numbers of pictures: entrants of several sizes can then be measured in turn."""

    session: Session
    pictures: NDArray[np.uint8]

    def run(self, numbers: NDArray[np.intp]) -> NDArray[np.float32]:
        (number,) = numbers
        return self.session.run(self.pictures[number : number + 1])


def entrants_of(bundle: Path) -> list[Entrant]:
    """The int8 files of a bundle, each on its preferred runtime, or its cascade."""
    entrants = []
    for artifact in listed_artifacts(bundle):
        if artifact.quantization is Quantization.INT8:
            runtime = runtimes_for(artifact.format)[0]
            entrants.append(
                Entrant(
                    kind := _kind(artifact),
                    f"{'Xception' if kind is Kind.FULL else kind}, {artifact.image_size} px",
                    runtime.title,
                    tuple(file.image_size for file in artifact.members),
                    artifact.bytes,
                    lambda artifact=artifact, runtime=runtime: load_artifact(artifact, runtime, THREADS),
                )
            )
    if not entrants:
        raise SystemExit(f"{bundle}: holds no int8 file; cxr-edge export --quantize int8 writes it")
    return entrants


def _kind(artifact: Artifact) -> Kind:
    if isinstance(artifact, Cascade):
        return Kind.CASCADE
    return Kind.FULL if artifact.metadata.training.teacher_sha256 is None else Kind.STUDENT


def peers_of(path: Path, work: Path | None) -> list[Entrant]:
    """What other tools make of a run's model; those that cannot are named."""
    run = find_run(path)
    folder = work or run.folder / "peers"
    reasons = build_peers(run, folder)
    for name, reason in reasons.items():
        show(f"{name}: {reason}")
    size = run.config().options.image_size
    return [
        Entrant(
            Kind.PEER,
            peer.title,
            runtime_named(peer.runtime).title,
            (size,),
            sum(peer.path(folder).with_suffix(suffix).stat().st_size for suffix in peer.suffixes),
            lambda peer=peer: peer_session(peer.runtime, peer.path(folder), THREADS),
        )
        for peer in PEERS
        if peer.name not in reasons
    ]


def measured(
    entrants: list[Entrant], images: Callable[[int], OtherImages], queries: int, seconds: float
) -> tuple[list[Point], Noise]:
    """Score each entrant, then time all of them interleaved. `images` are the same ones at any size."""
    candidates, scored = [], []
    for number, entrant in enumerate(entrants):
        pictures = joined([images(size).images for size in entrant.sizes])
        start = time.perf_counter()
        try:
            session = entrant.load()
            loaded = time.perf_counter() - start
            with progress_bar(f"{entrant.title} on {entrant.runtime}", len(pictures)) as bar:
                top = score_images(session, pictures, bar.tick).argmax(axis=1)
        except Exception as error:
            # Whatever a runtime raises about what a tool wrote is reported; the others are measured.
            if entrant.kind is not Kind.PEER:
                raise
            show(f"{entrant.title}: {first_line(error)}")
            continue
        targets = images(entrant.sizes[0]).targets
        scored.append((entrant, int((top == targets).sum()), len(top)))
        candidate = Candidate(str(number), entrant.runtime, _ByNumber(session, pictures), loaded)
        candidate.by_mean = entrant.kind is Kind.CASCADE
        candidates.append(candidate)
    before = read_clock()
    with progress_bar("measuring", rounds_of(queries) * len(candidates)) as bar:
        measure(candidates, mixed_order(scored[0][2]), queries, seconds, bar.tick)
    figures = [candidate.figures() for candidate in candidates]
    noise = judge_noise([latency.spread for latency in figures], (before, read_clock()))
    points = [
        Point(entrant.kind, entrant.title, entrant.runtime, entrant.sizes[-1], entrant.bytes, right, count, latency)
        for (entrant, right, count), latency in zip(scored, figures, strict=True)
    ]
    return points, noise


def show_points(points: list[Point], images_of: str) -> None:
    rows = []
    for point in sorted(points, key=lambda point: point.one_figure_ms):
        accuracy = wilson_interval(point.right, point.images)
        rows.append(
            [
                point.title,
                point.runtime,
                f"{point.bytes / 1e6:.1f}",
                f"{percent(accuracy.value)} ({percent(accuracy.low)} to {percent(accuracy.high)})",
                *(f"{value:.2f}" for value in (point.latency.p50_ms, point.latency.mean_ms, point.latency.p99_ms)),
            ]
        )
    columns = ["file", "runtime", "MB", "accuracy %", "p50 ms", "mean ms", "p99 ms"]
    show_table(f"{points[0].images} images of {images_of}, {THREADS} thread", columns, rows, texts=2)


def _short(word: str) -> str:
    """A path by its last two names: a bundle's own says nothing, and the rest is of this machine."""
    return "/".join(Path(word).parts[-2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="repeatable")
    parser.add_argument("--peers", type=Path, metavar="RUN", help="other tools' files of this run, too")
    parser.add_argument("--work", type=Path, help="folder of the other tools' files; default: peers/ in the run")
    parser.add_argument("--data", type=Path, required=True, help="labelled images")
    parser.add_argument("--queries", type=int, default=100, help="minimum number of measured queries of each")
    parser.add_argument("--seconds", type=float, default=3.0, help="minimum seconds of measured queries of each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    entrants = [entrant for bundle in options.bundle for entrant in entrants_of(bundle)]
    if options.peers:
        entrants += peers_of(options.peers, options.work)
    metadata = listed_artifacts(options.bundle[0])[0].metadata
    read: dict[int, OtherImages] = {}

    def images(size: int) -> OtherImages:
        if size not in read:
            read[size] = read_other_images(options.data, metadata.labels, size, metadata.imaging.resize)
            if read[size].targets is None:
                raise SystemExit(f"{options.data}: its images have no labels, or others than the models'")
        return read[size]

    points, noise = measured(entrants, images, options.queries, options.seconds)
    show_points(points, options.data.name)
    for reason in noise.reasons:
        show(f"noise: {reason}")
    if options.json:
        record = TradeoffRecord(
            cxr_edge=__version__,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=("python", "-m", "benchmarks.tradeoff", *map(_short, sys.argv[1:])),
            machine=describe_machine(),
            threads=THREADS,
            images_of=options.data.name,
            noise=noise,
            points=tuple(points),
        )
        write_json(options.json, to_json(record))


if __name__ == "__main__":
    main()
