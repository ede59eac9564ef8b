"""`cxr-edge bench`: every artifact of a bundle on every runtime that reads it, and Keras where it can be had."""

from __future__ import annotations

import importlib.util
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.benchmarking.latency import Candidate, measure, rounds_of
from cxr_edge.bundle import NOTICE, read_bundle, read_manifest
from cxr_edge.data.layouts import image_files
from cxr_edge.data.phantom import LABELS, draw_phantom
from cxr_edge.errors import DataError, MissingDependencyError, OptionError
from cxr_edge.imaging import load_image
from cxr_edge.locate import warning_about
from cxr_edge.machine import describe_machine, usable_cores
from cxr_edge.reporting.progress import progress_bar
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import RUNTIMES, Runtime, runtime_named

SCHEMA = 1
KERAS = "keras"


def _image_files(paths: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += image_files(path)
        else:
            files.append(path)
    if paths and not files:
        raise DataError(f"{paths[0]}: no image files in it")
    return files


def _images(paths: list[Path], size: int, resize: str) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """uint8 `[N, S, S, 1]`, and what is to be said of it: source, and time to decode and resize a file."""
    files = _image_files(paths)
    if not files:
        drawn = [draw_phantom(LABELS[index % len(LABELS)], index, size).pixels for index in range(6)]
        return np.stack(drawn)[..., None], {"source": "phantoms", "count": len(drawn)}
    pixels, milliseconds = [], []
    for path in files:
        start = time.perf_counter()
        pixels.append(load_image(path, size, resize))
        milliseconds.append((time.perf_counter() - start) * 1000)
    p50, p90 = np.percentile(milliseconds, [50, 90])
    decode = {"p50_ms": float(p50), "p90_ms": float(p90), "worst_ms": float(max(milliseconds))}
    return np.stack(pixels)[..., None], {"source": "files", "count": len(files), "decode_and_resize": decode}


def _chosen(names: list[str] | None) -> tuple[list[Runtime], bool, bool]:
    """Runtimes to use, whether Keras is wanted, and whether the choice was the user's. Raises for what is missing."""
    if not names:
        return [runtime for runtime in RUNTIMES if runtime.installed()], True, False
    runtimes = []
    for name in names:
        if name.lower() != KERAS:
            runtime = runtime_named(name)
            if not runtime.installed():
                raise MissingDependencyError(runtime.title, runtime.extra)
            runtimes.append(runtime)
    return runtimes, any(name.lower() == KERAS for name in names), True


def _keras_run(folder: Path, demanded: bool) -> tuple[Run | None, str | None]:
    """The run whose bundle this is, if its Keras model can be run here; otherwise the reason why not."""
    run = Run(folder.resolve().parent)
    if not run.model_file.is_file():
        reason = "this bundle lies outside its run folder"
    elif importlib.util.find_spec("tensorflow") is None:
        if demanded:
            raise MissingDependencyError("TensorFlow", "train")
        reason = "TensorFlow is not installed here"
    else:
        return run, None
    if demanded:
        raise OptionError(f"{folder}: keras cannot be measured, {reason}")
    return None, reason


def _timed_load(load: Any, *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    session = load(*arguments)
    return session, time.perf_counter() - start


def bench(
    folder: Path, names: list[str] | None, image_paths: list[Path], threads: int | None, queries: int, seconds: float
) -> dict[str, Any]:
    """Measure a bundle on this machine.

    Args:
        folder: the bundle.
        names: runtimes to use, `keras` among them; None for all installed.
        image_paths: files and folders to classify; phantoms where empty.
        threads: of one inference; None for all usable cores.
        queries, seconds: least number and least total time of counted queries a row.

    Returns:
        JSON-ready record: machine, settings, one row a pair of artifact and runtime, fastest first.

    Raises:
        ArtifactError, DataError, MissingDependencyError, OptionError.
    """
    artifacts = read_bundle(folder)
    shared = read_manifest(folder)["shared"]
    runtimes, keras_wanted, chosen = _chosen(names)
    threads = threads or usable_cores()
    images, described = _images(image_paths, artifacts[0].image_size, artifacts[0].resize)
    notes = [warning for artifact in artifacts if (warning := warning_about(artifact))]
    candidates: list[Candidate] = []
    facts: list[dict[str, Any]] = []

    run, reason = _keras_run(folder, chosen) if keras_wanted else (None, None)
    if run is not None:
        # Before TensorFlow is imported, it can still be told.
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
        from cxr_edge.runtimes.keras_model import KerasSession

        session, load_seconds = _timed_load(KerasSession, run, threads)
        candidates.append(Candidate("model.h5", "Keras", session, load_seconds))
        reference = next((artifact.parity["reference_accuracy"] for artifact in artifacts if artifact.parity), None)
        facts.append({"quantization": "none", "bytes": run.model_file.stat().st_size, "accuracy": reference})
    elif reason:
        notes.append(f"Keras is not in the table: {reason}")
    for runtime in runtimes:
        # Importing a runtime is not part of loading the first artifact.
        runtime.module()
    for artifact in artifacts:
        able = [runtime for runtime in runtimes if artifact.format in runtime.formats]
        if not able:
            extras = " or ".join(runtime.extra for runtime in RUNTIMES if artifact.format in runtime.formats)
            notes.append(f"{artifact.name} is not in the table: none of its runtimes ({extras}) is chosen or installed")
        for runtime in able:
            session, load_seconds = _timed_load(runtime.load, artifact.path, threads)
            candidates.append(Candidate(artifact.name, runtime.title, session, load_seconds))
            verdict = artifact.parity or {}
            facts.append(
                {
                    "quantization": artifact.quantization,
                    "bytes": artifact.bytes,
                    **{name: verdict.get(name) for name in ("accuracy", "agreement", "verdict")},
                }
            )
    if not candidates:
        raise MissingDependencyError("a runtime for this bundle (LiteRT, ONNX Runtime)", "device")
    with progress_bar("measuring", rounds_of(queries) * len(candidates)) as bar:
        measure(candidates, images, queries, seconds, bar.tick)

    base = next((index for index, fact in enumerate(facts) if fact["quantization"] == "none"), 0)
    baseline = candidates[base].figures()["p50_ms"]
    rows = []
    for candidate, fact in zip(candidates, facts, strict=True):
        figures = candidate.figures()
        row = {"artifact": candidate.name, "runtime": candidate.runtime, **fact, **figures}
        rows.append({**row, "speed_up": baseline / figures["p50_ms"]})
    return {
        "schema": SCHEMA,
        "cxr_edge": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "notice": NOTICE,
        "machine": describe_machine(),
        "threads": threads,
        "image_size": artifacts[0].image_size,
        "images": described,
        "trained_on": shared["training"]["data"],
        "baseline": f"{candidates[base].name} on {candidates[base].runtime}",
        "rows": sorted(rows, key=lambda row: row["p50_ms"]),
        "notes": notes,
    }
