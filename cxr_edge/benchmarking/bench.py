"""`cxr-edge bench`: every artifact of a bundle on every runtime that reads it, and Keras where it can be had."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.artifacts.verdict import FAILED
from cxr_edge.benchmarking.energy import energy_meter
from cxr_edge.benchmarking.files import measure_files, write_sample_files
from cxr_edge.benchmarking.latency import Candidate, measure, rounds_of
from cxr_edge.benchmarking.noise import judge_noise, read_clock
from cxr_edge.benchmarking.ratios import LEAST_ROUNDS, paired_ratio, ratio_interval
from cxr_edge.benchmarking.startup import startup
from cxr_edge.benchmarking.throughput import throughput
from cxr_edge.console import progress_bar
from cxr_edge.data.layouts import image_files
from cxr_edge.errors import DataError, MissingDependencyError, OptionError
from cxr_edge.imaging.decode import load_image
from cxr_edge.machine import describe_machine, usable_cores
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import RUNTIMES, Runtime, Session, runtime_named
from cxr_edge.runtimes.selection import best_artifacts, warning_about

SCHEMA = 2
KERAS = "keras"
_QUICK_FILES = 12


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, and for how long.

    `runtimes` are names on the command line, `keras` among them, None for all installed, on the CPU. `threads` of one
    inference, each number a pass of its own. `queries` and `seconds` are the least of counted queries a row. `baseline`
    is the row that the others are compared with, ARTIFACT or ARTIFACT@RUNTIME; None for Keras, or a float artifact.
    `starts` is how often each candidate is started in a process of its own, 0 for not at all; `throughput_seconds`
    likewise for throughput; `file_rounds` is how often each file is read, for `folder_seconds` or more as a folder.
    `quick` leaves out Keras, and of the artifacts all but the most wanted quantization and float32.
    """

    runtimes: tuple[str, ...] | None = None
    images: tuple[Path, ...] = ()
    threads: tuple[int, ...] = ()
    queries: int = 50
    seconds: float = 2.0
    baseline: str | None = None
    starts: int = 3
    throughput_seconds: float = 1.0
    file_rounds: int = 5
    folder_seconds: float = 4.0
    rounds: int | None = None
    quick: bool = False

    def quickly(self) -> BenchOptions:
        """The same in under 20 seconds, without start-up and throughput."""
        return replace(
            self,
            queries=LEAST_ROUNDS,
            rounds=LEAST_ROUNDS,
            seconds=min(self.seconds, 0.25),
            starts=0,
            throughput_seconds=0.0,
            file_rounds=1,
            folder_seconds=1.0,
            quick=True,
        )


@dataclass
class _Row:
    """A candidate with what the manifest says of it, and how to load it again."""

    candidate: Candidate
    facts: dict[str, Any]
    threads: int
    runtime: Runtime | None = None
    artifact: Artifact | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.candidate.name}@{self.runtime.option if self.runtime else KERAS}"


def _image_files(paths: tuple[Path, ...]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += image_files(path)
        else:
            files.append(path)
    if paths and not files:
        raise DataError(f"{paths[0]}: no image files in it")
    return files


@contextmanager
def _files(paths: tuple[Path, ...]) -> Iterator[tuple[list[Path], str]]:
    """The user's files, or phantoms written for the occasion; and which of the two."""
    files = _image_files(paths)
    if files:
        yield files, "files"
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_sample_files(Path(folder)), "phantoms"


def _chosen(names: tuple[str, ...] | None) -> tuple[list[Runtime], bool, bool]:
    """Runtimes to use, whether Keras is wanted, and whether the choice was the user's. Raises for what is missing."""
    if names is None:
        return [runtime for runtime in RUNTIMES if runtime.installed()], True, False
    runtimes = [runtime_named(name) for name in names if name.lower() != KERAS]
    for runtime in runtimes:
        runtime.require()
    return runtimes, any(name.lower() == KERAS for name in names), True


def _keras_run(folder: Path, demanded: bool, threads: tuple[int, ...], quick: bool) -> tuple[Run | None, str | None]:
    """The run whose bundle this is, if its Keras model can be run here; otherwise the reason why not."""
    run = Run(folder.resolve().parent)
    if quick and not demanded:
        reason = "--quick leaves it out"
    elif not run.model_file.is_file():
        reason = "this bundle lies outside its run folder"
    elif importlib.util.find_spec("tensorflow") is None:
        if demanded:
            raise MissingDependencyError("TensorFlow", "train")
        reason = "TensorFlow is not installed here"
    elif len(threads) > 1:
        reason = "TensorFlow cannot change its number of threads in a process"
    else:
        return run, None
    if demanded:
        raise OptionError(f"{folder}: keras cannot be measured, {reason}")
    return None, reason


def _keras_row(run: Run, threads: int, artifacts: list[Artifact]) -> _Row:
    # Before TensorFlow is imported, it can still be told.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    from cxr_edge.training.keras_model import KerasSession

    start = time.perf_counter()
    session = KerasSession(run, threads)
    loaded = time.perf_counter() - start
    reference = next((artifact.parity["reference_accuracy"] for artifact in artifacts if artifact.parity), None)
    facts = {
        "quantization": str(Quantization.FLOAT32),
        "bytes": run.model_file.stat().st_size,
        "accuracy": reference,
        "ran_on": "TensorFlow",
    }
    return _Row(Candidate("model.h5", "Keras", session, loaded), facts, threads)


def _artifact_row(artifact: Artifact, runtime: Runtime, threads: int, images: NDArray[np.uint8]) -> _Row:
    start = time.perf_counter()
    session = runtime.load(artifact.path, threads)
    loaded = time.perf_counter() - start
    verdict = artifact.parity or {}
    facts = {
        "quantization": str(artifact.quantization),
        "bytes": artifact.bytes,
        "ran_on": session.ran_on,
        **{name: verdict.get(name) for name in ("accuracy", "agreement", "verdict")},
    }
    if runtime.name == "onnx_runtime" and runtime.provider != "cpu":
        from cxr_edge.runtimes.onnx_runtime import placement

        # What the provider cannot compute goes to the CPU without a word.
        facts["nodes_on"] = placement(artifact.path, threads, runtime.provider, images[:1])
    return _Row(Candidate(artifact.name, runtime.title, session, loaded), facts, threads, runtime, artifact)


def _baseline(rows: list[_Row], wanted: str | None) -> _Row:
    if wanted is not None:
        for row in rows:
            if wanted in (row.candidate.name, row.key):
                return row
        raise OptionError(f"--baseline {wanted}: choose one of {', '.join(sorted({row.key for row in rows}))}")
    return next((row for row in rows if row.facts["quantization"] == Quantization.FLOAT32), rows[0])


def _described(row: _Row, baseline: _Row) -> dict[str, Any]:
    figures, base = row.candidate.figures(), baseline.candidate.figures()
    ratio = paired_ratio(figures["rounds_ms"], base["rounds_ms"])
    interval = ratio_interval(figures["rounds_ms"], base["rounds_ms"], paired=True)
    return {
        "id": row.key,
        "artifact": row.candidate.name,
        "runtime": row.candidate.runtime,
        "threads": row.threads,
        **row.facts,
        **figures,
        "speed_up": 1 / ratio,
        "ratio": ratio,
        "ratio_interval": None if interval is None or row is baseline else list(interval),
        "baseline": baseline.key,
        **row.extra,
    }


def _with_throughput(rows: list[_Row], images: NDArray[np.uint8], seconds: float) -> None:
    wanted = [row for row in rows if row.runtime is not None and row.artifact is not None]
    with progress_bar("throughput", len(wanted)) as bar:
        for row in wanted:
            runtime, artifact = row.runtime, row.artifact
            assert runtime is not None and artifact is not None
            batches = artifact.metadata.contract.takes_any_number
            row.extra["throughput"] = throughput(
                lambda threads, runtime=runtime, path=artifact.path: runtime.load(path, threads),  # type: ignore[misc]
                images,
                row.threads,
                seconds,
                batches,
            )
            bar.advance()


def _with_startup(rows: list[_Row], run: Run | None, image: Path, starts: int, notes: list[str]) -> None:
    with progress_bar("starting each in a process of its own", len(rows)) as bar:
        for row in rows:
            if row.artifact is not None and row.runtime is not None:
                found = startup(row.artifact.path, row.runtime.option, row.threads, image, starts)
            else:
                assert run is not None
                # Ten seconds and more a start, most of them TensorFlow's import.
                found = startup(run.folder, KERAS, row.threads, image, 1)
            if "reason" in found:
                notes.append(f"{row.key} did not start in a process of its own: {found['reason']}")
            else:
                row.extra["startup"] = found
            bar.advance()


def bench(folder: Path, options: BenchOptions) -> dict[str, Any]:
    """Measure a bundle on this machine.

    Args:
        folder: the bundle.
        options: what to measure.

    Returns:
        JSON-ready record: machine, settings, one row a candidate, fastest first, what the files took, whether the
        machine was quiet, and a conclusion.

    Raises:
        ArtifactError, DataError, MissingDependencyError, OptionError, ProviderError.
    """
    artifacts = read_bundle(folder)
    if options.quick:
        wanted = {best_artifacts(folder)[0].quantization, Quantization.FLOAT32}
        artifacts = [artifact for artifact in artifacts if artifact.quantization in wanted]
    shared = read_manifest(folder).shared
    runtimes, keras_wanted, chosen = _chosen(options.runtimes)
    passes = tuple(dict.fromkeys(options.threads)) or (usable_cores(),)
    notes = [warning for artifact in artifacts if (warning := warning_about(artifact))]
    run, reason = _keras_run(folder, chosen, passes, options.quick) if keras_wanted else (None, None)
    if reason:
        notes.append(f"Keras is not in the table: {reason}")
    for artifact in artifacts:
        if not any(artifact.format in runtime.formats for runtime in runtimes):
            extras = " or ".join(runtime.extra for runtime in RUNTIMES if artifact.format in runtime.formats)
            notes.append(f"{artifact.name} is not in the table: none of its runtimes ({extras}) is chosen or installed")
    meter = energy_meter()
    size, resize = artifacts[0].image_size, artifacts[0].resize
    with _files(options.images) as (files, source):
        if options.quick and len(files) > _QUICK_FILES:
            notes.append(f"--quick takes {_QUICK_FILES} of {len(files)} files")
            files = [files[index * len(files) // _QUICK_FILES] for index in range(_QUICK_FILES)]
        images = np.stack([load_image(path, size, resize) for path in files])[..., None]
        before = read_clock()
        measured: list[dict[str, Any]] = []
        sessions: dict[tuple[str, int], Callable[[], Session]] = {}
        for threads in passes:
            rows = [_keras_row(run, threads, artifacts)] if run is not None else []
            for runtime in runtimes:
                # Importing a runtime is not part of loading the first artifact.
                runtime.module()
            rows += [
                _artifact_row(artifact, runtime, threads, images)
                for artifact in artifacts
                for runtime in runtimes
                if artifact.format in runtime.formats
            ]
            if not rows:
                raise MissingDependencyError("a runtime for this bundle (LiteRT, ONNX Runtime)", "device")
            baseline = _baseline(rows, options.baseline)
            title = f"measuring, {threads} threads"
            candidates = [row.candidate for row in rows]
            rounds = options.rounds or rounds_of(options.queries)
            with progress_bar(title, rounds * len(rows)) as bar:
                measure(candidates, images, options.queries, options.seconds, bar.tick, meter, rounds)
            after = read_clock()
            if options.throughput_seconds:
                _with_throughput(rows, images, options.throughput_seconds)
            if options.starts:
                _with_startup(rows, run, files[0], options.starts, notes)
            measured += [_described(row, baseline) for row in rows]
            sessions.update({(row.key, threads): _again(row) for row in rows})
            # A sweep must not hold every artifact as often as it has passes.
            del rows, baseline, candidates
        measured.sort(key=lambda row: row["p50_ms"])
        fastest = _winner(measured)
        fastest["winner"] = True
        with progress_bar("from file to answer", (options.file_rounds + 1) * len(files)) as bar:
            session = sessions[fastest["id"], fastest["threads"]]()
            cores = usable_cores()
            from_files = measure_files(
                files, session, size, resize, options.file_rounds, cores, options.folder_seconds, bar.tick
            )
        from_files.update(id=fastest["id"], threads=fastest["threads"], source=source)
    record = {
        "schema": SCHEMA,
        "cxr_edge": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command_line(),
        "notice": NOTICE,
        "machine": describe_machine(),
        "threads": list(passes),
        "queries": options.queries,
        "seconds": options.seconds,
        "quick": options.quick,
        "image_size": size,
        "images": {"source": source, "count": len(files)},
        "trained_on": str(shared.training.data),
        "baseline": fastest["baseline"],
        "energy": meter.source if meter else None,
        "noise": judge_noise([row["spread"] for row in measured], before, after),
        "rows": measured,
        "from_files": from_files,
        "notes": notes,
    }
    record["conclusion"] = conclusion(record)
    return record


def _again(row: _Row) -> Callable[[], Session]:
    """What yields a session for a row that was measured; the Keras model, which takes long to load, is kept."""
    runtime, artifact, threads = row.runtime, row.artifact, row.threads
    if runtime is None or artifact is None:
        session = row.candidate.session
        return lambda: session
    return lambda: runtime.load(artifact.path, threads)


def _winner(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The fastest row whose artifact did not fail its gate; the fastest where all did."""
    return ([row for row in rows if row.get("verdict") != FAILED] or rows)[0]


def _command_line() -> list[str]:
    """As typed, files and folders by their last name: a record goes to other people."""
    return ["cxr-edge", *(Path(word).name if os.sep in word else word for word in sys.argv[1:])]


def conclusion(record: dict[str, Any]) -> str:
    """One plain sentence on the winner, and what it costs in accuracy."""
    row = next(row for row in record["rows"] if row.get("winner"))
    wanted = (row["baseline"], row["threads"])
    base = next(other for other in record["rows"] if (other["id"], other["threads"]) == wanted)
    own, other = (f"{one['artifact']} on {one['runtime']}" for one in (row, base))
    if row is base:
        return f"{own} is the fastest, and the baseline itself: {row['p50_ms']:.1f} ms."
    text = f"{own}: {row['speed_up']:.1f} times the speed of {other}"
    if row.get("accuracy") is not None and base.get("accuracy") is not None:
        points = 100 * (row["accuracy"] - base["accuracy"])
        text += f", accuracy {points:+.1f} points" if abs(points) >= 0.05 else ", same accuracy"
    if row.get("verdict"):
        text += f" (parity: {row['verdict']})"
    if row["energy_mj"] is not None and base["energy_mj"]:
        text += f", {row['energy_mj'] / base['energy_mj']:.2f} of its energy"
    return text + "."
