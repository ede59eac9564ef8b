"""`export --max-drop`: find the fewest layers to leave in float so that int8 meets the demand on validation images.

As in the accuracy control of NNCF and Neural Compressor, layers are left in float from the top of a ranking, here that
of `--explain-int8`. How many is found by doubling and bisection, and no test images are used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.errors import GateError
from cxr_edge.evaluation.accuracy_control import AccuracyControl, AccuracyDemand, Loss, Losses, Release
from cxr_edge.evaluation.conditions import VALIDATION, Condition
from cxr_edge.evaluation.shifts import VERSION
from cxr_edge.exporting.verify import Reference
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded, write_json
from cxr_edge.intervals import Interval
from cxr_edge.progress import Stage
from cxr_edge.quantization.explain import explain, rows_of, sample_indices
from cxr_edge.quantization.graph import keep_in_float, quantized_tensors
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.releases import ranked_releases
from cxr_edge.quantization.switchable import KERNELS, SwitchableGraph
from cxr_edge.records import JsonObject, from_json, to_json
from cxr_edge.statistics.intervals import paired_difference


def losses_of(reference: Reference, answers: Sequence[NDArray[np.floating]]) -> Losses:
    """The losses against the Keras model on a reference's validation images.

    Args:
        reference: has validation images, unshifted and under shifts.
        answers: probabilities or logits `[n, K]` under each of its conditions; those for other parts are ignored.
    """
    plain, shifted = _Counts(), _Counts()
    targets = reference.split.targets(VALIDATION)
    for condition, expected, answer in zip(reference.conditions, reference.probabilities, answers, strict=True):
        if condition.part == VALIDATION:
            counts = plain if condition.shift is None else shifted
            counts.add(targets[condition.rows], expected.argmax(axis=1), answer.argmax(axis=1))
    return Losses(plain.loss(each_once=True), shifted.loss(each_once=False))


@dataclass
class _Counts:
    """For each image so far: whether the Keras model was right, whether the artifact was, and whether they agree."""

    reference_right: list[NDArray[np.bool_]] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    same: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, targets: NDArray[np.integer], expected: NDArray[np.integer], actual: NDArray[np.integer]) -> None:
        self.reference_right.append(expected == targets)
        self.right.append(actual == targets)
        self.same.append(expected == actual)

    def loss(self, each_once: bool) -> Loss:
        reference_right, right, same = map(np.concatenate, (self.reference_right, self.right, self.same))
        drop = 100 * float(reference_right.mean() - right.mean())
        interval = Interval(drop)
        if each_once:
            difference = paired_difference(reference_right, right)
            assert difference.low is not None and difference.high is not None
            interval = Interval(drop, -100 * difference.high, -100 * difference.low)
        return Loss(len(same), interval, 100 * float(1 - same.mean()))


@dataclass(frozen=True)
class _Search:
    """The results for an int8 graph so far, independent of the demand: the ranking, and losses by number of releases.

    Saved after each evaluation, so that an interrupted export resumes from there.
    """

    key: JsonObject
    releases: tuple[Release, ...]
    losses: dict[str, Losses]


class AccuracySearch:
    """The search for one int8 graph.

    Args:
        quantized: the graph, as calibrated or fine-tuned.
        kept: patterns of the layers that are in float in any case.
        reference: the Keras model's answers.
        record: the file for the results, reused if it belongs to the same graph and images.
        graph_sha256: SHA-256 of the int8 graph's file.
        stage: shows progress.
    """

    def __init__(
        self,
        quantized: QuantizedGraph,
        kept: Sequence[str],
        reference: Reference,
        record: Path,
        graph_sha256: str,
        stage: Stage,
    ) -> None:
        self.quantized, self.kept, self.reference, self.record, self.stage = quantized, kept, reference, record, stage
        self._key: JsonObject = {"graph": graph_sha256, "suite": VERSION, "images": _counts_of(reference)}
        self._switchable: SwitchableGraph | None = None
        self._search = self._read() or self._ranked()

    def control(self, demand: AccuracyDemand) -> AccuracyControl:
        """The fewest releases that meet a demand. Raises GateError if all of them together miss it."""
        releases = self._search.releases
        count = fewest(lambda number: self._losses(number).meet(demand), len(releases))
        if count is None:
            judged = {int(number): losses for number, losses in self._search.losses.items()}
            best = min(judged, key=lambda number: (judged[number].excess(demand), number))
            raise GateError(
                f"{demand} on validation images: cannot be met by leaving layers in float; the nearest, with "
                f"{sum(len(release.layers) for release in releases[:best])} layers, has a {judged[best]}; demand less, "
                "or export float32"
            )
        return AccuracyControl(demand, self._losses(0), self._losses(count), releases[:count], len(releases))

    def _read(self) -> _Search | None:
        try:
            search = from_json(_Search, json.loads(read_bounded(self.record, MAX_RECORD_BYTES)))
        except (OSError, ValueError):
            # No record yet, or from another version: repeating the search takes minutes and needs no user input.
            return None
        return search if search.key == self._key else None

    def _ranked(self) -> _Search:
        conditions = _validation_conditions(self.reference)
        source = next(condition for condition in conditions if condition.shift is None).pixels()
        images = source[sample_indices(len(source))]
        # The float graph to compare with has the int8 kernels, which layers left in float keep.
        with self.stage("accuracy control: ranking layers", rows_of(self.quantized)) as steps:
            noise = explain(self.quantized.graph, self.quantized, images, steps.tick)
        return self._saved(_Search(self._key, ranked_releases(self.quantized.graph, self.kept, noise), {}))

    def _saved(self, search: _Search) -> _Search:
        write_json(self.record, to_json(search))
        return search

    def _losses(self, number: int) -> Losses:
        """The simulated losses with the first `number` releases in float."""
        losses = self._search.losses.get(str(number))
        if losses is None:
            losses = self._simulated(number)
            self._search = self._saved(replace(self._search, losses={**self._search.losses, str(number): losses}))
        return losses

    def _simulated(self, number: int) -> Losses:
        if self._switchable is None:
            self._switchable = SwitchableGraph(self.quantized.graph, self.quantized)
        layers = [layer for release in self._search.releases[:number] for layer in release.layers]
        rounded = {*quantized_tensors(keep_in_float(self.quantized.graph, [*self.kept, *layers])), KERNELS}
        images = sum(map(len, _validation_conditions(self.reference)))
        answers: list[NDArray[np.floating]] = []
        with self.stage(f"accuracy control: {len(layers)} layers in float", images) as steps:
            for condition in self.reference.conditions:
                if condition.part == VALIDATION:
                    answers.append(self._switchable.logits(condition.pixels(), rounded, steps.advance))
                else:
                    answers.append(np.zeros((0, 1), np.float32))
        return losses_of(self.reference, answers)


def _validation_conditions(reference: Reference) -> list[Condition]:
    return [condition for condition in reference.conditions if condition.part == VALIDATION]


def _counts_of(reference: Reference) -> JsonObject:
    return {
        "plain" if condition.shift is None else condition.shift.name: len(condition)
        for condition in _validation_conditions(reference)
    }


def fewest(meets: Callable[[int], bool], maximum: int) -> int | None:
    """The smallest number from 0 to `maximum` that meets a condition, by doubling and bisection; None if none does.

    Args:
        meets: the condition, evaluated about 2 log2(result) times. If it is not monotonic, the result still meets it
            and the number before does not.
        maximum: the largest number.
    """
    low, high = -1, 0
    while not meets(high):
        if high == maximum:
            return None
        low, high = high, min(maximum, max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high
