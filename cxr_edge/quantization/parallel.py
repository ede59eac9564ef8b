"""Work on many arrays at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from cxr_edge.processors import usable_cores

Result = TypeVar("Result")


def on_all_cores(function: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
    """Like `map`, on one thread per core, with BLAS single-threaded: its own threads would spin, waiting for others."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(function, *arguments))
