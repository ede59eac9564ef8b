"""Time from process start to first answer, and memory, of each candidate in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr_edge.processes import command_of


@dataclass(frozen=True)
class StartUp:
    """Medians in milliseconds of process start to answer (with Python's imports and one decode), loading, and the first
    inference; and peak resident memory, None if the system does not report it.
    """

    start_ms: float
    load_ms: float
    first_ms: float
    peak_memory_bytes: int | None


@dataclass(frozen=True)
class DidNotStart:
    """Why a process gave no answer."""

    reason: str


def startup(artifact: Path, runtime: str, threads: int, image: Path, repeats: int) -> StartUp | DidNotStart:
    """Medians over several starts, with a warm file cache.

    Args:
        artifact: the file; for `keras`, the run's folder.
        runtime: its name on the command line, or `keras`.
        threads: for the inference.
        image: the file to classify.
        repeats: number of starts.
    """
    command = command_of("cxr_edge.benchmarking.probe", str(artifact), runtime, str(threads), str(image))
    # A relative PYTHONPATH still works: the process starts in the same folder.
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    starts = []
    for _ in range(repeats):
        start = time.perf_counter()
        # Not a pipe, which a driver that prints much would fill.
        with tempfile.TemporaryFile("w+", errors="replace") as printed:
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=printed, text=True
            ) as process:
                assert process.stdout is not None
                answer = process.stdout.readline()
                seconds = time.perf_counter() - start
                process.communicate()
            printed.seek(0)
            # A driver may crash at process exit; an answer given before that stands.
            if not answer.strip():
                lines = printed.read().strip().splitlines() or [f"exit status {process.returncode}"]
                reason = lines[-1]
                for path in (artifact, image):
                    # Records are shared with other people: no folder's name.
                    reason = reason.replace(str(path), path.name)
                return DidNotStart(reason[:200])
        starts.append({"start_ms": 1000 * seconds, **json.loads(answer)})
    peaks = [each["peak_memory_bytes"] for each in starts if each["peak_memory_bytes"] is not None]
    start_ms, load_ms, first_ms = (
        float(np.median([each[name] for each in starts])) for name in ("start_ms", "load_ms", "first_ms")
    )
    return StartUp(start_ms, load_ms, first_ms, int(np.median(peaks)) if peaks else None)
