"""Choose the network of a student by its teacher's images and answers, and give it the teacher's weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.runs.config import Candidate, RunConfig
from cxr_edge.runs.network import Network
from cxr_edge.runs.progress import Progress
from cxr_edge.shrinking.importance import Importance, channel_importance, ranked, skipped
from cxr_edge.shrinking.inherit import inherit, take_statistics_anew
from cxr_edge.shrinking.widths import Kept, prune
from cxr_edge.statistics.intervals import kl_divergence
from cxr_edge.training.backend import keras
from cxr_edge.training.batches import training_batches
from cxr_edge.training.classifier import compiled, predict_probabilities

#: Training images that the channels are judged by, and that statistics of batch norms are computed from.
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
    """The network that answers most like the teacher on the validation split, before any training.

    Candidates lack middle blocks, first those without which the teacher answers most alike, and each is pruned to the
    budget.

    Args:
        teacher: the configuration of its run.
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
    answer, images = compiled(model), decoded(split, VALIDATION, options.image_size)
    wanted = predict_probabilities(answer, images)
    sensitivity = {}
    with progress.stage("measuring blocks", len(network.middle)) as tick:
        for number in network.middle:
            with skipped(model, network, number):
                sensitivity[number] = kl_divergence(wanted, predict_probabilities(answer, images))
            tick(f"block {number}: {sensitivity[number]:.4f}")
    with progress.stage("measuring channels", steps) as tick:
        importance = channel_importance(model, network, batches, steps, partial(tick, ""))
    full = network.macs(options.image_size)
    pruned = _pruned(network, ranked(network.middle, sensitivity), importance, int(macs * full), image_size)
    if not pruned:
        raise OptionError(
            f"--macs {macs}: at {image_size} px the network would be too narrow; take more, or fewer pixels"
        )
    tried = []
    with progress.stage("trying networks", len(pruned)) as tick:
        for without, (narrower, kept) in pruned.items():
            small = inherit(model, narrower, kept, image_size)
            take_statistics_anew(small, batches, steps)
            answers = predict_probabilities(compiled(small), decoded(split, VALIDATION, image_size))
            candidate = Candidate(without, narrower.macs(image_size), kl_divergence(wanted, answers))
            tried.append((candidate, narrower, small))
            tick(f"{len(without)} blocks fewer: {candidate.divergence:.4f}")
    _, chosen, start = min(tried, key=lambda entry: entry[0].divergence)
    return Plan(chosen, start, full, sensitivity, tuple(candidate for candidate, _, _ in tried))


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
