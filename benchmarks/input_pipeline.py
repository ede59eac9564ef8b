"""Is training ever kept waiting? `python -m benchmarks.input_pipeline --data DIR [--image-size 299] [--json FILE]`.

From TensorFlow's import to the first step of `cxr-edge train`, with an empty cache and again with a full one, each in a
process and with a cache of its own. Then, step by step, the share of a step's time in which the model waits for its
images; and whole epochs with the pipeline against as many steps on one batch that lies in memory, interleaved, which
also counts what decoded images and augmentation take away from a model that computes on the same cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import JsonObject, to_json

_FIRST_STEP = """
import json, os, sys, time
start = time.monotonic()
from cxr_edge.training.backend import tf
imported = time.monotonic()
from cxr_edge.cli import main
from cxr_edge.training import loop
figures = {"import_s": imported - start}
def begin(self, batch, logs=None):
    figures["to_first_step_s"] = time.monotonic() - imported
def end(self, batch, logs=None):
    figures["to_its_end_s"] = time.monotonic() - imported
    print(json.dumps(figures), flush=True)
    os._exit(0)
loop._Ticker.on_train_batch_begin, loop._Ticker.on_train_batch_end = begin, end
sys.argv[0] = "cxr-edge"
main()
"""


def first_step(arguments: list[str], cache: Path) -> dict[str, float]:
    """Seconds of `cxr-edge train`: TensorFlow's import, from there to the first step, and to that step's end."""
    environment = {**os.environ, "CXR_EDGE_CACHE": str(cache)}
    command = [sys.executable, "-c", _FIRST_STEP, "train", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def waiting(run_folder: Path, steps: int, rounds: int) -> JsonObject:
    """Share of step time spent waiting for images, and the time of steps on a ready batch over that of steps on them.

    Args:
        run_folder: a run that was started; its split, sizes and precision are taken.
        steps: of a round.
        rounds: of each kind, interleaved.
    """
    from cxr_edge.data.split import run_split
    from cxr_edge.runs import Run
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.backend import keras
    from cxr_edge.training.batches import training_batches
    from cxr_edge.training.precision import training_step
    from cxr_edge.training.xception import build_classifier

    run = Run(run_folder)
    options = run.config().options
    batches = training_batches(run_split(run), options.image_size, options.batch_size, options.seed)
    model = build_classifier(options.image_size, len(run.config().labels))
    model.compile(FusedAdam(1e-5), keras.losses.CategoricalCrossentropy())
    step = training_step(model)
    ready = next(iter(batches.epoch(0)))
    step(*ready)
    waited, stepped = [], []

    def fed(number: int) -> float:
        begin = time.perf_counter()
        images = iter(batches.epoch(number))
        for _ in range(steps):
            before = time.perf_counter()
            batch = next(images)
            between = time.perf_counter()
            step(*batch)
            waited.append(between - before)
            stepped.append(time.perf_counter() - before)
        return time.perf_counter() - begin

    def idle(number: int) -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            step(*ready)
        return time.perf_counter() - begin

    ratios = []
    for number in range(rounds):
        # In turns: the machine drifts.
        order = (fed, idle) if number % 2 else (idle, fed)
        seconds = {measure: measure(number) for measure in order}
        ratios.append(seconds[idle] / seconds[fed])
    # The first batches of an epoch are waited for; they count.
    return {
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "steps": len(stepped),
        "step_ms": 1000 * statistics.median(stepped),
        "waiting_share": sum(waited) / sum(stepped),
        "steps_that_waited_1_ms": sum(seconds > 1e-3 for seconds in waited),
        "ready_batch_over_pipeline": statistics.median(ratios),
        "ready_batch_over_pipeline_rounds": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", default="299")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache, runs = Path(scratch, "cache"), (Path(scratch, f"run{number}") for number in itertools.count())
        common = ["--data", options.data, "--image-size", options.image_size, "--weights", options.weights]
        record: JsonObject = {"machine": to_json(describe_machine())}
        for name in ("empty_cache", "full_cache", "full_cache_again"):
            run = next(runs)
            record[name] = first_step([*common, "--run", str(run)], cache)
            print(name, record[name])
        os.environ["CXR_EDGE_CACHE"] = str(cache)
        record["waiting"] = waiting(run, options.steps, options.rounds)
        print(record["waiting"])
    if options.json:
        write_json(options.json, record)


if __name__ == "__main__":
    main()
