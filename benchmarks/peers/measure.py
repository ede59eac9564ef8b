"""Load, score and time the rows of a plan in one process, interleaved: TensorFlow's threads are set once a process.

    python -m benchmarks.peers.measure PLAN.json RESULT.json

`measure_rows` writes the plan, starts the process and reads the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.session import peer_session
from cxr_edge.artifacts.gate import Gate
from cxr_edge.benchmarking.latency import Candidate, measure, rounds_of
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import first_line
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.files import write_json
from cxr_edge.records import JsonObject
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import Session, runtime_named
from cxr_edge.statistics.parity import parity

KERAS = "keras"


@dataclass(frozen=True)
class Row:
    """A file on a runtime. `name` is unique; `runtime` is the `name` of one (`cxr_edge.runtimes.base`), or keras."""

    name: str
    title: str
    runtime: str
    file: str
    ours: bool


@dataclass(frozen=True)
class Plan:
    """What a process measures. `images` limits the test images, None takes all; `score` asks for accuracy as well."""

    run: str
    rows: list[Row]
    threads: int
    images: int | None
    score: bool
    queries: int
    seconds: float


def stratified(targets: NDArray[np.integer], count: int, seed: int = 0) -> NDArray[np.intp]:
    """Ascending indices of `count` images, or all if there are fewer, in the classes' own shares; seeded."""
    order = np.random.default_rng(seed).permutation(len(targets))
    position = np.empty(len(targets))
    for label in np.unique(targets):
        members = order[targets[order] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.sort(np.argsort(position, kind="stable")[:count])


def _load(row: Row, plan: Plan) -> Session:
    if row.runtime == KERAS:
        from cxr_edge.training.keras_model import KerasSession

        return KerasSession(Run(Path(plan.run)), plan.threads)
    load = runtime_named(row.runtime).load if row.ours else partial(peer_session, row.runtime)
    return load(Path(row.file), plan.threads)


def run_plan(plan: Plan) -> dict[str, JsonObject]:
    """Measure a plan's rows; the Keras one comes first, as the others are compared with it.

    Returns:
        By row name: `blocks` (milliseconds `[rounds, queries]`), `load_ms`, and with `plan.score` `accuracy` and
        `agreement`; or `reason` alone, where the row cannot be run here.
    """
    split = run_split(Run(Path(plan.run)))
    targets = split.targets("test")
    rows = stratified(targets, plan.images or len(targets))
    targets = targets[rows]
    images = np.asarray(decoded(split, "test", Run(Path(plan.run)).config().options.image_size)[rows])
    results: dict[str, JsonObject] = {}
    candidates = []
    reference: NDArray[np.float32] | None = None
    for row in plan.rows:
        try:
            start = time.perf_counter()
            session = _load(row, plan)
            load_seconds = time.perf_counter() - start
            session.run(images[:1])
        except Exception as error:
            if row.runtime == KERAS:
                raise
            # Whatever a runtime raises about a peer's file is reported in the peer's row; the others are measured.
            results[row.name] = {"reason": first_line(error).replace(row.file, Path(row.file).name)}
            continue
        results[row.name] = {"load_ms": load_seconds * 1000}
        candidates.append(Candidate(row.name, row.runtime, session, load_seconds))
        if plan.score:
            with progress_bar(f"scoring {row.title} ({row.runtime})", len(images)) as bar:
                probabilities = score_images(session, images, bar.tick)
            reference = probabilities if reference is None else reference
            figures = parity(reference, probabilities, targets, split.labels, Gate())
            results[row.name] |= {"accuracy": figures.accuracy, "agreement": figures.agreement}
    rounds = rounds_of(plan.queries)
    with progress_bar(f"measuring, threads: {plan.threads}", rounds * len(candidates)) as bar:
        measure(candidates, images, plan.queries, plan.seconds, bar.tick)
    for candidate in candidates:
        results[candidate.name]["blocks"] = (np.array(candidate.seconds).reshape(rounds, -1) * 1000).tolist()
    return results


def measure_rows(plan: Plan) -> dict[str, JsonObject]:
    """`run_plan` in a separate process. Raises CalledProcessError when it dies."""
    # Both pools: operations of independent branches run side by side in the second.
    threads = {name: str(plan.threads) for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        request, result = Path(folder) / "plan.json", Path(folder) / "result.json"
        write_json(request, asdict(plan))
        command = [sys.executable, "-m", "benchmarks.peers.measure", str(request), str(result)]
        subprocess.run(command, env={**os.environ, **threads}, check=True)
        results: dict[str, JsonObject] = json.loads(result.read_text(encoding="utf-8"))
    return results


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    plan = Plan(**{**request, "rows": [Row(**row) for row in request["rows"]]})
    write_json(Path(sys.argv[2]), run_plan(plan))


if __name__ == "__main__":
    main()
