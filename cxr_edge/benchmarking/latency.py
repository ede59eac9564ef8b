"""Single-stream latency of several candidates, interleaved so that a drifting machine affects all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr_edge.benchmarking.energy import EnergyMeter
from cxr_edge.errors import ProviderError
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import Session

#: About the minimum number of counted queries of one candidate in a row.
BLOCK = 5
#: How long the uncounted queries before each block go on. They warm up the caches, and outlast the previous candidate:
#: ONNX Runtime's idle threads spin for some 40 ms of CPU time after a query, and slow down whatever runs next.
WARM_UP_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Percentiles of one query in milliseconds, the throughput of a single stream, and energy per query in millijoules.

    `rounds_ms` has the median of each round (in a record with a cascade, the mean), `spread` their interquartile range
    as a share of their median: how much the machine drifted while it was measured. `load_ms` is the loading time.
    `energy_mj` is None if the machine does not report it.
    """

    queries: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    worst_ms: float
    images_per_second: float
    load_ms: float
    energy_mj: float | None
    rounds_ms: tuple[float, ...]
    spread: float


@dataclass
class Candidate:
    """A measured candidate: a loaded session, its loading time, and the seconds of each counted query.

    `joules` is the machine's energy during the counted queries, None if the machine does not report it. `by_mean` is as
    for `ratios.paired_ratio`. `failure` is the error with which its process ended the measurement.
    """

    name: str
    runtime: str
    session: Session
    load_seconds: float
    seconds: list[float] = field(default_factory=list)
    joules: float | None = None
    rounds: int = 1
    by_mean: bool = False
    failure: ProviderError | None = None

    def blocks(self) -> NDArray[np.float64]:
        """Milliseconds `[rounds, queries]`."""
        return np.array(self.seconds).reshape(self.rounds, -1) * 1000

    def figures(self) -> Latency:
        """Latency from the figures that `measure` filled in."""
        milliseconds = np.array(self.seconds) * 1000
        p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
        rounds = self.blocks().mean(axis=1) if self.by_mean else np.median(self.blocks(), axis=1)
        quarter, half, three_quarters = np.percentile(rounds, [25, 50, 75])
        return Latency(
            queries=len(milliseconds),
            p50_ms=float(p50),
            p90_ms=float(p90),
            p99_ms=float(p99),
            mean_ms=float(milliseconds.mean()),
            std_ms=float(milliseconds.std()),
            worst_ms=float(milliseconds.max()),
            images_per_second=float(1000 / milliseconds.mean()),
            load_ms=self.load_seconds * 1000,
            energy_mj=None if self.joules is None else 1000 * self.joules / len(milliseconds),
            rounds_ms=tuple(round(float(value), 4) for value in rounds),
            spread=float((three_quarters - quarter) / half),
        )


def _seconds_of(session: Session, image: NDArray[np.uint8]) -> float:
    if isinstance(session, RemoteSession):
        # Communication with its process is not part of an inference.
        return session.timed_run(image)[1]
    start = time.perf_counter()
    session.run(image)
    return time.perf_counter() - start


@contextmanager
def _keeping_failure(candidate: Candidate) -> Iterator[None]:
    """Keep the error of a candidate whose separate process fails; one in this process raises it."""
    try:
        yield
    except ProviderError as error:
        if not isinstance(candidate.session, RemoteSession):
            raise
        candidate.failure = error


def rounds_of(queries: int) -> int:
    """The number of rounds in which `measure` runs its queries."""
    return math.ceil(queries / BLOCK)


def mixed_order(images: int) -> NDArray[np.intp]:
    """The indices of the images in an order that is always the same, and mixes classes of a sorted folder.

    Queries that are no whole number of passes repeat the first images, which must not be those of one class: a
    cascade's mean depends on the images.
    """
    return np.random.default_rng(0).permutation(images)


def rounds_of_passes(rounds: int, images: int) -> int:
    """A number of rounds, at most doubled, whose queries are whole passes over the images with the smallest blocks."""
    return min(range(rounds, 2 * rounds + 1), key=lambda number: _block_of_passes(number, images))


def _block_of_passes(rounds: int, images: int) -> int:
    """The smallest block with which so many rounds are whole passes over the images."""
    return images // math.gcd(images, rounds)


def measure(
    candidates: list[Candidate],
    images: NDArray[np.uint8],
    queries: int,
    seconds: float,
    on_block: Callable[[], None] | None = None,
    meter: EnergyMeter | None = None,
    rounds: int | None = None,
) -> None:
    """Fill `Candidate.seconds`: a block of queries of each candidate in turn, round after round.

    Fast candidates get longer blocks, so that each is measured for about the same time, spread over all rounds. This is
    MLPerf Inference's single-stream scenario (one query at a time, a minimum number and a minimum duration),
    interleaved. If a candidate's mean counts, its queries are whole passes over the images, unless that takes more than
    twice as many. A candidate in a separate process that fails keeps its `failure`; the others are measured.

    Args:
        candidates: interleaved in this order.
        images: uint8 `[N, S, S, 1]`, or another input that the sessions take; used in turn, one per query.
        queries: minimum number of counted queries of each.
        seconds: about the minimum time spent in counted queries of each.
        on_block: called after each candidate's block; `rounds_of(queries)` times for each.
        meter: read around each block.
        rounds: number of rounds; None for `rounds_of(queries)`.
    """
    single = [np.ascontiguousarray(images[index : index + 1]) for index in range(len(images))]

    def query(candidate: Candidate, index: int) -> float:
        return _seconds_of(candidate.session, single[index % len(single)])

    def counted_queries(candidate: Candidate, block: int) -> None:
        warm = time.perf_counter() + WARM_UP_SECONDS
        while time.perf_counter() < warm:
            query(candidate, len(candidate.seconds))
        before = meter.joules() if meter else 0.0
        for _ in range(block):
            candidate.seconds.append(query(candidate, len(candidate.seconds)))
        if meter:
            candidate.joules = (candidate.joules or 0.0) + meter.joules() - before

    rounds = rounds or rounds_of(queries)
    least = math.ceil(queries / rounds)
    blocks = []
    for candidate in candidates:
        quickest = 1.0
        with _keeping_failure(candidate):
            # The first queries are slow: memory is allocated and kernels are selected.
            quickest = min(query(candidate, index) for index in range(4))
        block = max(least, math.ceil(seconds / rounds / quickest))
        step = _block_of_passes(rounds, len(single))
        blocks.append(math.ceil(block / step) * step if candidate.by_mean and step <= block else block)
        candidate.rounds = rounds
    for _ in range(rounds):
        for candidate, block in zip(candidates, blocks, strict=True):
            if candidate.failure is None:
                with _keeping_failure(candidate):
                    counted_queries(candidate, block)
            if on_block:
                on_block()
