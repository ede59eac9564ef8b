"""The latency cost of layers left in float, from interleaved measurements of files with more and more of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.benchmarking.latency import Candidate, Latency, measure, rounds_of
from cxr_edge.benchmarking.ratios import interleaved_ratio
from cxr_edge.evaluation.accuracy_control import AccuracyControl, LatencyCost
from cxr_edge.exporting.verify import preferred_session
from cxr_edge.progress import Stage

#: Maximum number of files with layers in float, each of which takes a conversion: further releases are grouped.
MOST_FILES = 8
QUERIES, SECONDS = 50, 2.0


def latency_costs(
    control: AccuracyControl, tflite: Callable[[int], bytes], images: NDArray[np.uint8], stage: Stage
) -> tuple[LatencyCost, ...]:
    """Latency of a TFLite file with none, some and all of the layers in float, on the runtime that verifies it.

    Args:
        control: which layers, in which order.
        tflite: the content of the file with that many of the first releases in float.
        images: the images to classify, uint8 `[N, S, S, 1]`.
        stage: shows progress.
    """
    count = len(control.releases)
    steps = sorted({0, *(int(end) for end in np.linspace(0, count, min(count, MOST_FILES) + 1)[1:].round())})
    contents = [tflite(number) for number in steps]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.{ArtifactFormat.TFLITE}" for number in steps]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        figures = _measured(paths, images, stage)
    costs = []
    for index, number in enumerate(steps):
        added = control.releases[steps[index - 1] if index else 0 : number]
        costs.append(
            LatencyCost(
                tuple(layer for release in added for layer in release.layers),
                len(contents[index]),
                figures[index].p50_ms,
                interleaved_ratio(figures[index].rounds_ms, figures[0].rounds_ms),
            )
        )
    return tuple(costs)


def _measured(paths: Sequence[Path], images: NDArray[np.uint8], stage: Stage) -> list[Latency]:
    """The figures of each file. No session is left, which would map its file: Windows removes none that is mapped."""
    candidates = []
    for path in paths:
        start = time.perf_counter()
        title, session = preferred_session(path, ArtifactFormat.TFLITE)
        candidates.append(Candidate(path.name, title, session, time.perf_counter() - start))
    with stage("measuring latency", rounds_of(QUERIES) * len(candidates)) as bar:
        measure(candidates, images, QUERIES, SECONDS, bar.tick)
    return [candidate.figures() for candidate in candidates]
