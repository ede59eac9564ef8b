"""Choose the network of a student by its teacher's images and answers, and give it the teacher's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.runs.config import Candidate, MeasuredLatency, RunConfig
from cxr_edge.runs.network import Network
from cxr_edge.runs.progress import Progress
from cxr_edge.shrink_options import ShrinkOptions
from cxr_edge.shrinking.budget import Narrowed, shapes_of, within_latency, within_macs
from cxr_edge.shrinking.importance import Importance, channel_importance, ranked, skipped
from cxr_edge.shrinking.inherit import inherit, recompute_statistics
from cxr_edge.statistics.intervals import kl_divergence
from cxr_edge.train_options import TrainOptions
from cxr_edge.training.backend import keras
from cxr_edge.training.batches import training_batches
from cxr_edge.training.classifier import compiled, predict_probabilities

#: Number of training images for ranking channels and for recomputing the statistics of batch norms.
IMAGES = 512


@dataclass(frozen=True)
class Plan:
    """A student's network and its weights, and the measurements behind the choice, as in `runs.config.Student`."""

    network: Network
    image_size: int
    model: keras.Model
    teacher_macs: int
    block_sensitivity: dict[int, float]
    candidates: tuple[Candidate, ...]
    latency: MeasuredLatency | None


@dataclass(frozen=True)
class _Tried:
    """A candidate with inherited weights, and how far its answers are from the teacher's."""

    narrowed: Narrowed
    divergence: float
    model: keras.Model


def plan(teacher: RunConfig, model: keras.Model, split: Split, options: ShrinkOptions, progress: Progress) -> Plan:
    """The network that answers most like the teacher on the validation split, before any training.

    Candidates omit middle blocks, the least sensitive first, and are pruned to the budget; for a latency budget, they
    come at several input sizes.

    Args:
        teacher: the configuration of its run.
        model: the teacher's.
        split: shared by teacher and student.
        options: the budget, and the input size.
        progress: receives reports.

    Raises:
        OptionError: no network is within the budget.
        GateError: the machine is too noisy to measure latency.
        MissingDependencyError: LiteRT is not installed to measure it.
    """
    network, trained = teacher.network, teacher.options
    stopwatch = None
    if options.latency is not None:
        # The import takes seconds. The stopwatch comes first, so that a noisy machine is noticed at once.
        from cxr_edge.shrinking.latency import Stopwatch

        stopwatch = Stopwatch(model, split, options.latency, progress)
    judge = _Judge(model, network, split, trained, progress)
    sensitivity, importance = judge.block_sensitivity(), judge.channel_importance()
    shapes = shapes_of(network, ranked(network.middle, sensitivity), options.image_sizes(trained))
    full = network.macs(trained.image_size)
    if stopwatch is None:
        assert options.macs_budget is not None
        within = within_macs(shapes, importance, full, options.macs_budget)
    else:
        within = within_latency(shapes, importance, full, stopwatch.budget, stopwatch)
    tried = judge.tried(within)
    best = min(tried, key=lambda candidate: candidate.divergence)
    latency = best.narrowed.latency
    return Plan(
        network=best.narrowed.network,
        image_size=best.narrowed.shape.image_size,
        model=best.model,
        teacher_macs=full,
        block_sensitivity=sensitivity,
        candidates=tuple(candidate.narrowed.candidate(candidate.divergence) for candidate in tried),
        latency=None if stopwatch is None or latency is None else stopwatch.record(latency),
    )


class _Judge:
    """Compares answers to the validation images with the teacher's."""

    def __init__(
        self, model: keras.Model, network: Network, split: Split, trained: TrainOptions, progress: Progress
    ) -> None:
        self._model, self._network, self._split, self._progress = model, network, split, progress
        self._batches = training_batches(split, trained.image_size, trained.batch_size, trained.seed)
        self._steps = min(self._batches.steps, -(-IMAGES // trained.batch_size))
        self._step, self._size = compiled(model), trained.image_size
        self._teacher_answers = self._answers(self._step, self._size)

    def _answers(self, step: Any, size: int) -> NDArray[np.float32]:
        return predict_probabilities(step, decoded(self._split, VALIDATION, size))

    def block_sensitivity(self) -> dict[int, float]:
        """The teacher's divergence from itself when a middle block is skipped, by block number."""
        sensitivity = {}
        with self._progress.stage("measuring blocks", len(self._network.middle)) as tick:
            for number in self._network.middle:
                with skipped(self._model, self._network, number):
                    sensitivity[number] = kl_divergence(self._teacher_answers, self._answers(self._step, self._size))
                tick(f"block {number}: {sensitivity[number]:.4f}")
        return sensitivity

    def channel_importance(self) -> Importance:
        """The importance of the teacher's channels."""
        with self._progress.stage("measuring channels", self._steps) as tick:
            return channel_importance(self._model, self._network, self._batches, self._steps, partial(tick, ""))

    def tried(self, candidates: Sequence[Narrowed]) -> list[_Tried]:
        """The candidates with inherited weights, and how far their answers are from the teacher's."""
        tried = []
        with self._progress.stage("trying networks", len(candidates)) as tick:
            for narrowed in candidates:
                size = narrowed.shape.image_size
                model = inherit(self._model, narrowed.network, narrowed.kept, size)
                recompute_statistics(model, self._batches, self._steps)
                divergence = kl_divergence(self._teacher_answers, self._answers(compiled(model), size))
                tried.append(_Tried(narrowed, divergence, model))
                tick(f"{narrowed.shape}: {divergence:.4f}")
        return tried
