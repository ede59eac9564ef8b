"""The int8 graphs of a run, with the layers in float that accuracy control leaves there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.errors import GateError
from cxr_edge.evaluation.accuracy_control import AccuracyControl, AccuracyDemand
from cxr_edge.exporting.accuracy_control import AccuracySearch, losses_of
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.exporting.verify import Probabilities, Reference
from cxr_edge.files import sha256_of
from cxr_edge.progress import Stage
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.quantized_run import QuantizedRun
from cxr_edge.quantization.releases import with_layers_in_float
from cxr_edge.records import JsonObject, from_json, to_json


class ControlledRun:
    """The graph and the quantization name of each int8 artifact, once `meet` has found the layers to leave in float.

    Args:
        quantized: the run's int8 graphs.
        recipe: names the layers that are in float in any case.
        demand: what int8 may lose; without one, nothing changes.
        stage: shows progress.
    """

    def __init__(self, quantized: QuantizedRun, recipe: Recipe, demand: AccuracyDemand, stage: Stage) -> None:
        self.quantized, self.recipe, self.demand, self.stage = quantized, recipe, demand, stage
        #: Filled by `meet`.
        self.controls: dict[Quantization, AccuracyControl] = {}
        self._graphs: dict[Quantization, QuantizedGraph] = {}

    def meet(self, quantization: Quantization, reference: Reference) -> None:
        """Find the layers that stay in float. Raises GateError if the demand cannot be met."""
        if not self.demand.is_stated or not quantization.is_integer:
            return
        graph, file = self._quantized(quantization), self.quantized.file(quantization)
        record = file.with_name(f"{file.stem}-accuracy-control.json")
        search = AccuracySearch(graph, self.recipe.keep_float, reference, record, sha256_of(file), self.stage)
        self.controls[quantization] = search.control(self.demand)

    def graph(self, quantization: Quantization, releases: int | None = None) -> QuantizedGraph:
        """The int8 graph to convert, with its first `releases` releases in float; None for all of them."""
        graph, control = self._quantized(quantization), self.controls.get(quantization)
        if control is None:
            return graph
        layers = [layer for release in control.releases[:releases] for layer in release.layers]
        return with_layers_in_float(graph, [*self.recipe.keep_float, *layers])

    def yields(self, quantization: Quantization) -> Quantization:
        """The quantization that an artifact gets: with layers left in float it is mixed."""
        control = self.controls.get(quantization)
        return quantization.mixed() if control is not None and control.layers else self.recipe.yields(quantization)

    def is_superseded(self, other: ArtifactMetadata, quantization: Quantization) -> bool:
        """Whether another artifact of the bundle is removed when the new one of a quantization is added.

        With a demand, an int8 or mixed one is, if a device might use it in place of the new one and it is not known to
        meet the demand. One of the same quantization stays where this export is about to replace it.
        """
        if quantization not in self.controls or not other.quantization.is_integer:
            return False
        yields = self.yields(quantization)
        is_usable = other.quantization.rank < yields.rank or (
            other.quantization is yields and other.format not in self.recipe.formats
        )
        return is_usable and not _is_known_to_meet(self.demand, other)

    def judged(
        self, quantization: Quantization, name: str, reference: Reference, answers: Sequence[Probabilities]
    ) -> AccuracyControl | None:
        """The accuracy control with the losses measured on the converted file; None without a demand.

        Raises:
            GateError: the file misses the demand that its simulation meets.
        """
        control = self.controls.get(quantization)
        if control is None:
            return None
        losses = losses_of(reference, answers)
        if not losses.meet(self.demand):
            raise GateError(
                f"{name}: with {len(control.layers)} layers in float, {self.demand} on validation images was met when "
                f"simulated, but the file has a {losses}; demand a little less"
            )
        return replace(control, after=losses)

    def described(self, quantization: Quantization, control: AccuracyControl | None) -> JsonObject | None:
        """How an artifact was quantized, including its accuracy control; None for a float one."""
        if not quantization.is_integer:
            return None
        description = self.quantized.described(quantization, self._quantized(quantization))
        if control is None:
            return description
        kept = {"keep_float": [*self.recipe.keep_float, *control.layers]} if control.layers else {}
        return {**description, **kept, "accuracy_control": to_json(control)}

    def _quantized(self, quantization: Quantization) -> QuantizedGraph:
        # Once: latency is measured without the run's lock, when the files may already be those of another export.
        if quantization not in self._graphs:
            self._graphs[quantization] = self.quantized.quantized_graph(quantization.is_fine_tuned)
        return self._graphs[quantization]


def _is_known_to_meet(demand: AccuracyDemand, artifact: ArtifactMetadata) -> bool:
    """Whether an artifact of the same model, made for this demand or another one, had losses that meet it."""
    control = (artifact.calibration or {}).get("accuracy_control")
    return control is not None and from_json(AccuracyControl, control).after.meet(demand)
