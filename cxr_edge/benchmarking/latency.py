"""Single-stream latency of several candidates, interleaved so that a drifting machine is unfair to none."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runtimes.base import Session

#: Queries of one candidate in a row; the first of each block warms the caches again and is not counted.
BLOCK = 6


@dataclass
class Candidate:
    """What is measured: a loaded session, how long loading took, and the seconds of each counted query."""

    name: str
    runtime: str
    session: Session
    load_seconds: float
    seconds: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Latency percentiles in milliseconds and the throughput of a single stream."""
        milliseconds = np.array(self.seconds) * 1000
        p50, p90, p99 = np.percentile(milliseconds, [50, 90, 99])
        return {
            "queries": len(milliseconds),
            "p50_ms": float(p50),
            "p90_ms": float(p90),
            "p99_ms": float(p99),
            "mean_ms": float(milliseconds.mean()),
            "worst_ms": float(milliseconds.max()),
            "images_per_second": float(1000 / p50),
            "load_ms": self.load_seconds * 1000,
        }


def measure(
    candidates: list[Candidate],
    images: NDArray[np.uint8],
    queries: int,
    seconds: float,
    on_block: Callable[[], None] | None = None,
) -> None:
    """Fill `Candidate.seconds`: blocks of queries, candidate after candidate, round after round.

    Args:
        candidates: interleaved in this order.
        images: uint8 `[N, S, S, 1]`, taken in turn, one a query.
        queries: least number of counted queries of each.
        seconds: least time spent in counted queries of each.
        on_block: called after each candidate's block.
    """
    single = [np.ascontiguousarray(images[index : index + 1]) for index in range(len(images))]
    for candidate in candidates:
        for index in range(3):
            candidate.session.run(single[index % len(single)])
    turn = 0
    while any(len(one.seconds) < queries or sum(one.seconds) < seconds for one in candidates):
        for candidate in candidates:
            for index in range(BLOCK):
                image = single[(turn + index) % len(single)]
                start = time.perf_counter()
                candidate.session.run(image)
                elapsed = time.perf_counter() - start
                if index:
                    candidate.seconds.append(elapsed)
            if on_block:
                on_block()
        turn += BLOCK
