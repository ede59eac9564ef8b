"""Choose the network of a student by its teacher's images and answers, and give it the teacher's weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.errors import OptionError
from cxr_edge.runs.config import Candidate, RunConfig
from cxr_edge.runs.network import Network
from cxr_edge.runs.progress import Progress
from cxr_edge.shrinking.importance import Importance, channel_importance, ranked, skipped
from cxr_edge.shrinking.inherit import inherit, take_statistics_anew
from cxr_edge.shrinking.widths import Kept, prune
from cxr_edge.training.backend import keras
from cxr_edge.training.batches import training_batches
from cxr_edge.training.classifier import compiled, predict_probabilities
from cxr_edge.training.distill import divergences

#: Training images that the channels are judged by, and that statistics of batch norms are taken from anew.
IMAGES = 512
#: Middle blocks by which one candidate is shorter than the one before.
BLOCKS_APART = 2


@dataclass(frozen=True)
class Plan:
    """A student's network and its weights, and what it was chosen by: see `runs.config.Student`."""

    network: Network
    model: keras.Model
    teacher_macs: int
    block_sensitivity: dict[int, float]
    candidates: tuple[Candidate, ...]


def plan(
    teacher: RunConfig, model: keras.Model, split: Split, macs: float, image_size: int, progress: Progress
) -> Plan:
    """The network of a student.

    Candidates differ in the middle blocks that they lack, of which those come first without which the teacher answers
    most alike. Each is pruned to the budget. The one is taken that answers most like the teacher before any training,
    on the validation split.

    Args:
        teacher: of its run.
        model: the teacher's.
        split: of both.
        macs: the budget, as a share of the teacher's multiply-accumulates.
        image_size: of the student, in pixels.
        progress: receives reports.

    Raises:
        OptionError: the network would be too narrow.
    """
    network, options = teacher.network, teacher.options
    batches = training_batches(split, options.image_size, options.batch_size, options.seed)
    steps = min(batches.steps, -(-IMAGES // options.batch_size))
    images = decoded(split, "validation", options.image_size)
    answer = compiled(model)
    wanted = predict_probabilities(answer, images)

    def divergence(answers: NDArray[np.float32]) -> float:
        return float(np.mean(divergences(wanted, answers)))

    with progress.stage("measuring blocks", len(network.middle)) as tick:
        sensitivity = {}
        for number in network.middle:
            with skipped(model, network, number):
                sensitivity[number] = divergence(predict_probabilities(answer, images))
            tick(f"block {number}: {sensitivity[number]:.4f}")
    with progress.stage("measuring channels", steps) as tick:
        importance = channel_importance(model, network, batches, steps, partial(tick, ""))
    drops = ranked(network.middle, sensitivity)
    budget = int(macs * network.macs(options.image_size))
    pruned = _pruned(network, drops, importance, budget, image_size)
    if not pruned:
        raise OptionError(
            f"--macs {macs}: at {image_size} px the network would be too narrow; take more, or fewer pixels"
        )
    small = decoded(split, "validation", image_size)
    best: keras.Model = None
    candidates: list[Candidate] = []
    with progress.stage("trying networks", len(pruned)) as tick:
        for without, (narrower, kept) in pruned.items():
            candidate = inherit(model, narrower, kept, image_size)
            take_statistics_anew(candidate, batches, steps)
            found = Candidate(
                without,
                narrower.macs(image_size),
                divergence(predict_probabilities(compiled(candidate), small)),
            )
            if all(found.divergence < other.divergence for other in candidates):
                best, chosen = candidate, narrower
            candidates.append(found)
            tick(f"{len(without)} blocks fewer: {found.divergence:.4f}")
    return Plan(chosen, best, network.macs(options.image_size), sensitivity, tuple(candidates))


def _pruned(
    network: Network, drops: list[int], importance: Importance, budget: int, image_size: int
) -> dict[tuple[int, ...], tuple[Network, Kept]]:
    """Networks within the budget, by the blocks that they lack."""
    pruned = {}
    for count in range(0, len(drops) + 1, BLOCKS_APART):
        without = tuple(sorted(drops[:count]))
        result = prune(network.without(without), importance, budget, image_size)
        if result is not None:
            pruned[without] = result
    return pruned
