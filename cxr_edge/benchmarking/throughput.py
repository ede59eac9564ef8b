"""Offline throughput: as many images per second as the machine can classify."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runtimes.base import Session

BATCH = 8


@dataclass(frozen=True)
class Throughput:
    """The throughput of the better of the two methods, which `how` names."""

    images_per_second: float
    how: str


def _rate(work: Callable[[int], int], workers: int, seconds: float) -> float:
    """Images per second of `workers` threads that call `work` for some seconds; it takes the thread's number and
    returns the number of images done. An error in one thread stops all threads and is raised.
    """
    done = [0] * workers
    errors: list[Exception] = []
    go = threading.Barrier(workers + 1)
    stop = threading.Event()

    def loop(number: int) -> None:
        try:
            work(number)
            go.wait()
            while not stop.is_set():
                done[number] += work(number)
        except threading.BrokenBarrierError:
            return
        except Exception as error:
            errors.append(error)
            go.abort()
            stop.set()

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        with suppress(threading.BrokenBarrierError):
            go.wait()
        start = time.perf_counter()
        stop.wait(seconds)
    except BaseException:
        # Ctrl-C: a thread that still waits, or never stops, would keep the process.
        go.abort()
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    # Timed until the last thread has ended, since the work that it finishes counts.
    return sum(done) / (time.perf_counter() - start)


def throughput(
    load: Callable[[int], Session],
    images: NDArray[np.uint8],
    cores: int,
    seconds: float,
    batches: bool,
    sessions: int | None = None,
) -> Throughput:
    """The better of two ways to keep all cores busy: one single-threaded session per core, and batches on all threads.

    MLPerf Inference's offline scenario: any order, any latency.

    Args:
        load: returns a session with a number of threads.
        images: uint8 `[N, S, S, 1]`.
        cores: number of cores to use.
        seconds: duration of each measurement.
        batches: whether the artifact accepts more than one image.
        sessions: number of concurrent single-threaded sessions; None for one per core. An accelerator holds only one.
    """
    workers = cores if sessions is None else sessions
    single = [np.ascontiguousarray(images[index : index + 1]) for index in range(len(images))]

    def one_thread_each() -> float:
        loaded = [load(1) for _ in range(workers)]
        # Each image in turn: a cascade takes longer for some than for others.
        turns = [itertools.cycle(single[number:] + single[:number]) for number in range(workers)]

        def work(number: int) -> int:
            loaded[number].run(next(turns[number]))
            return 1

        return _rate(work, workers, seconds)

    def in_batches() -> float:
        # As many batches as there are images, so that each image occurs equally often.
        rows = itertools.cycle(np.arange(len(images) * BATCH).reshape(-1, BATCH) % len(images))
        session = load(cores)

        def work(number: int) -> int:
            # Copied only now: all batches at once would take eight times the memory of the images.
            session.run(np.ascontiguousarray(images[next(rows)]))
            return BATCH

        return _rate(work, 1, seconds)

    rates = {f"{workers} x 1 thread": one_thread_each()}
    if batches:
        rates[f"batches of {BATCH}"] = in_batches()
    how = max(rates, key=lambda name: rates[name])
    return Throughput(rates[how], how)
