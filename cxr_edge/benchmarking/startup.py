"""From the start of a process to its first answer, and its memory: each candidate in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def startup(artifact: Path, runtime: str, threads: int, image: Path, repeats: int) -> dict[str, Any]:
    """Medians over several starts, the file cache warm.

    Args:
        artifact: the file; for `keras` the run's folder.
        runtime: its name on the command line, or `keras`.
        threads: of the inference.
        image: the file to classify.
        repeats: how many starts.

    Returns:
        JSON-ready: `start_ms`, process start to answer with Python's imports and one decode, `load_ms`, `first_ms`,
        the first inference, and `peak_memory_bytes`; `reason` alone where the process failed.
    """
    command = [sys.executable, "-m", "cxr_edge.benchmarking.probe", str(artifact), runtime, str(threads), str(image)]
    # A relative PYTHONPATH still holds: the process starts in the same folder.
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    rows = []
    for _ in range(repeats):
        start = time.perf_counter()
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            answer = process.stdout.readline()
            seconds = time.perf_counter() - start
            _, err = process.communicate()
        if process.returncode != 0:
            lines = err.strip().splitlines() or [f"exit status {process.returncode}"]
            return {"reason": lines[-1][:200]}
        rows.append({"start_ms": 1000 * seconds, **json.loads(answer)})
    peaks = [row["peak_memory_bytes"] for row in rows if row["peak_memory_bytes"] is not None]
    return {
        **{name: float(np.median([row[name] for row in rows])) for name in ("start_ms", "load_ms", "first_ms")},
        "peak_memory_bytes": int(np.median(peaks)) if peaks else None,
    }
