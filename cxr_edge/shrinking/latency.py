"""The int8 latency of networks before distillation, measured in turn with their teacher's on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.benchmarking.conclusion import noise_remark
from cxr_edge.benchmarking.latency import Candidate, measure, rounds_of
from cxr_edge.benchmarking.noise import judge_noise, read_clock
from cxr_edge.benchmarking.ratios import interleaved_ratio
from cxr_edge.console import quiet
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.errors import GateError
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.exporting.tflite import int8_tflite
from cxr_edge.intervals import Interval
from cxr_edge.processors import describe_cpu
from cxr_edge.quantization.calibrate import calibration_batch, choose_ranges, collect_histograms
from cxr_edge.quantization.fold import fold
from cxr_edge.quantization.graph import Graph, quantized_tensors, with_heatmap
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.runs.config import MeasuredLatency
from cxr_edge.runs.progress import Progress
from cxr_edge.runtimes.base import Session, runtimes_for
from cxr_edge.shrinking.budget import Narrowed
from cxr_edge.shrinking.inherit import inherit
from cxr_edge.training.backend import keras

THREADS = 1
QUERIES, SECONDS = 50, 1.0
#: Number of validation images for the measurements and for calibrating the teacher.
IMAGES = 16


class _IndexedSession:
    """A session that takes indices of images, so that networks of different input sizes can be measured together."""

    def __init__(self, session: Session, images: NDArray[np.uint8]) -> None:
        self._session, self._images = session, images

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._session.run(self._images[images])


class Stopwatch:
    """Measures networks against their teacher, each as an int8 TFLite file, one image at a time on one thread.

    Since the speed of integer kernels does not depend on the values, a network is not calibrated itself: it gets its
    inherited weights, and the ranges of the teacher's tensors.

    Args:
        teacher: trained.
        split: whose validation images are decoded at each size that is measured.
        budget: the required latency, as a share of the teacher's.
        progress: receives reports.

    Raises:
        GateError: the machine is too noisy.
        MissingDependencyError: no runtime here reads TFLite files.
    """

    def __init__(self, teacher: keras.Model, split: Split, budget: float, progress: Progress) -> None:
        self.budget = budget
        self._model, self._split, self._progress = teacher, split, progress
        self._runtime = runtimes_for(ArtifactFormat.TFLITE)[0]
        graph = fold(teacher)
        images = self._images(graph.image_size)
        with progress.working("converting the teacher"):
            histograms = collect_histograms(with_heatmap(graph), images, calibration_batch(graph.image_size))
            self._ranges = choose_ranges(graph, histograms)
            self._teacher = self._loaded(graph)
        self._spread = 0.0
        # A noisy machine is noticed here, not minutes later.
        self._measure([self._teacher])

    def __call__(self, networks: Sequence[Narrowed]) -> list[Interval]:
        """The latency of each network as a share of the teacher's. Raises GateError if the machine is too noisy."""
        self._teacher = replace(self._teacher, seconds=[])
        candidates = []
        with self._progress.stage("converting networks", len(networks)) as tick:
            for narrowed in networks:
                graph = fold(inherit(self._model, narrowed.network, narrowed.kept, narrowed.shape.image_size))
                candidates.append(self._loaded(graph))
                tick("")
        self._measure([self._teacher, *candidates])
        rounds_ms = self._teacher.figures().rounds_ms
        return [interleaved_ratio(candidate.figures().rounds_ms, rounds_ms) for candidate in candidates]

    def _measure(self, candidates: list[Candidate]) -> None:
        with self._progress.stage("measuring latency", rounds_of(QUERIES) * len(candidates)) as tick:
            before = read_clock()
            measure(candidates, np.arange(IMAGES, dtype=np.uint8), QUERIES, SECONDS, partial(tick, ""))
            noise = judge_noise([candidate.figures().spread for candidate in candidates], (before, read_clock()))
        if noise.noisy:
            raise GateError(f"--latency: {noise_remark(noise)}; stop other programs on this machine, or use --macs")
        self._spread = max(self._spread, noise.spread)

    def record(self, share: Interval) -> MeasuredLatency:
        """The record of the selected network's latency, with the hardware and runtime that it was measured on."""
        return MeasuredLatency(
            budget=self.budget,
            share=share,
            teacher_p50_ms=self._teacher.figures().p50_ms,
            spread=self._spread,
            runtime=self._runtime.title,
            threads=THREADS,
            cpu=describe_cpu()[0],
        )

    def _images(self, size: int) -> NDArray[np.uint8]:
        return np.resize(np.asarray(decoded(self._split, VALIDATION, size)[:IMAGES]), (IMAGES, size, size, 1))

    def _loaded(self, graph: Graph) -> Candidate:
        whole = with_heatmap(graph)
        ranges = {name: self._ranges[name] for name in quantized_tensors(whole)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"network.{ArtifactFormat.TFLITE}"
            with quiet():
                path.write_bytes(int8_tflite(QuantizedGraph(whole, ranges)))
            session = self._runtime.load_here(path, THREADS)
        return Candidate(path.name, self._runtime.title, _IndexedSession(session, self._images(graph.image_size)), 0.0)
