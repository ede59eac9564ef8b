"""`cxr-edge export`: artifacts of a run, verified against its Keras model, in its bundle."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import OwnMetadata, ReferenceOutputs, SharedMetadata, joined
from cxr_edge.artifacts.parity_result import RecordedParity
from cxr_edge.artifacts.publishing import Published, publish
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import GateError, OptionError
from cxr_edge.evaluation.accuracy_control import AccuracyDemand, LatencyCost
from cxr_edge.evaluation.conditions import LABELLED_PART, VALIDATION, Scope
from cxr_edge.evaluation.logits import FLOOR, INT8_FLOOR
from cxr_edge.evaluation.reference_images import packed, reference_images
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import apply_temperature, fit_temperature
from cxr_edge.exporting.controlled_run import ControlledRun
from cxr_edge.exporting.convert import Converter
from cxr_edge.exporting.latency_cost import latency_costs
from cxr_edge.exporting.operating_demand import OperatingDemand, operating_demand
from cxr_edge.exporting.recipe import DenseWeights, OutputType, Recipe
from cxr_edge.exporting.seal import sealed, shared_metadata
from cxr_edge.exporting.verify import Probabilities, Reference, preferred_session, reference_of
from cxr_edge.files import sha256_of
from cxr_edge.inspection.computation import ComputationVerdict
from cxr_edge.inspection.operators import computation_of
from cxr_edge.lowering.activations import ActivationType
from cxr_edge.machine import package_versions
from cxr_edge.progress import Stage, silently
from cxr_edge.quantization.fold import fold
from cxr_edge.quantization.learn import LearningOptions
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.quantized_run import QuantizedRun, Variant
from cxr_edge.records import to_json
from cxr_edge.reporting.card.card import update_card
from cxr_edge.runs import Run
from cxr_edge.runs.leftovers import remove_leftovers
from cxr_edge.runs.lock import locked
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

#: Stem of every artifact's file name.
NAME = "xception"
#: Steps of fine-tuning on phantoms: enough to see that it works.
PHANTOM_STEPS = 60


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how the int8 fine-tuning is done. Raises OptionError for a number out of range."""

    recipe: Recipe
    #: Steps of the fine-tuning; None for `LearningOptions.steps`, on phantoms `PHANTOM_STEPS`. int8 is fine-tuned only
    #: if needed, unless this or the learning rate is stated.
    qat_steps: int | None = None
    #: None for `LearningOptions.learning_rate`.
    qat_learning_rate: float | None = None
    #: The class that must not be missed (None for `USUAL_LABEL`, if it is a label), and the share to call or refer
    #: (None for `USUAL_SENSITIVITY`).
    sensitive_class: str | None = None
    sensitivity: float | None = None
    #: A cross-validation to fit the operating points on; None for the run's own, or the validation split.
    folds: Path | None = None
    #: What int8 may lose on validation images; layers are left in float until that is met.
    accuracy: AccuracyDemand = field(default_factory=AccuracyDemand)

    def __post_init__(self) -> None:
        if self.sensitivity is not None and not 0 < self.sensitivity <= 1:
            raise OptionError(f"--sensitivity {self.sensitivity}: must be above 0 and at most 1")
        rate = LearningOptions.learning_rate if self.qat_learning_rate is None else self.qat_learning_rate
        if (self.qat_steps is not None and self.qat_steps < 2) or not 0 < rate < 1:
            raise OptionError("--qat-steps must be at least 2, --qat-learning-rate above 0 and below 1")
        if not any(kind.is_fine_tuned for kind in self.recipe.quantize):
            self._require_no_fine_tuning()
        if self.accuracy.is_stated:
            _require_layers_to_keep(self.recipe)

    def _require_no_fine_tuning(self) -> None:
        for option, value in (("--qat-steps", self.qat_steps), ("--qat-learning-rate", self.qat_learning_rate)):
            if value is not None:
                raise OptionError(f"{option}: nothing is fine-tuned here; add --quantize int8")

    def fine_tuning(self, phantoms: bool) -> LearningOptions:
        """The options of the fine-tuning, for a run on phantoms or on images."""
        usual = PHANTOM_STEPS if phantoms else LearningOptions.steps
        only_if_needed = self.qat_steps is None and self.qat_learning_rate is None
        rate = self.qat_learning_rate or LearningOptions.learning_rate
        return LearningOptions(self.qat_steps or usual, rate, only_if_needed)


@dataclass(frozen=True)
class Exported:
    """The artifacts written, and notes on other changes to the bundle, one human-readable line each."""

    artifacts: tuple[Artifact, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Answers:
    """A converted file's probabilities: under each condition of the split's reference, and of the reference inputs.

    `runtime` is the title of the runtime that computed them.
    """

    runtime: str
    split: tuple[Probabilities, ...]
    outputs: Probabilities


@dataclass(frozen=True)
class _Reference:
    """The Keras model's outputs on the split and on the bundle's reference inputs.

    Images are uint8 `[N, S, S, 1]`, probabilities float32 `[N, K]` with the temperature applied.
    """

    split: Reference
    #: uint8 `[M, S, S, 1]`, and packed as in the bundle.
    inputs: NDArray[np.uint8]
    content: bytes
    outputs: NDArray[np.float32]
    #: By the SHA-256 of a file's content; int8 that needed no fine-tuning has the content of int8-ptq.
    _answers: dict[str, _Answers] = field(default_factory=dict)

    def answers(self, file: Path, kind: ArtifactFormat, recipe: Recipe, stage: Stage) -> _Answers:
        """Those of a converted file, computed once per content."""
        digest = sha256_of(file)
        if digest not in self._answers:
            runtime, session = preferred_session(file, kind, recipe.activation_type is ActivationType.INT8)
            with stage(f"verifying {file.name}", self.split.images) as steps:
                split = self.split.score(session, steps.tick)
            self._answers[digest] = _Answers(runtime, split, score_images(session, self.inputs))
        return self._answers[digest]


class Exporter:
    """Makes a run's artifacts; what they share is computed once. `stage` shows progress."""

    def __init__(self, run: Run, options: ExportOptions, stage: Stage = silently) -> None:
        self.run, self.options, self.recipe, self.stage = run, options, options.recipe, stage
        self.bundle = run.bundle_of(self.recipe.name)
        self.image_size = run.config().options.image_size
        self.split = run_split(run)
        self.model = load_classifier(run)
        self.graph = fold(self.model)
        variant = Variant(
            self.recipe.keep_float,
            self.recipe.dense_weights is DenseWeights.PER_TENSOR,
            self.recipe.symmetric_activations,
        )
        self.quantized = QuantizedRun(run, self.graph, variant, options.fine_tuning(run.phantoms), stage)
        self.controlled = ControlledRun(self.quantized, self.recipe, options.accuracy, stage)

    @cached_property
    def temperature(self) -> float:
        """The divisor of the Keras model's logits in every artifact, fitted on the validation split."""
        return fit_temperature(self._validation, self.split.targets("validation"))

    @cached_property
    def converter(self) -> Converter:
        return self._converter(self.controlled.graph)

    def _converter(self, integers: Callable[[Quantization], QuantizedGraph]) -> Converter:
        representative = self.quantized.calibration_images
        return Converter(self.recipe, self.graph, integers, representative, self.temperature, self.stage)

    @cached_property
    def demand(self) -> OperatingDemand | None:
        """What is demanded of the artifacts' operating points; see `operating_demand`. Raises OptionError, RunError."""
        options = self.options
        return operating_demand(self.run, self.split, options.sensitive_class, options.sensitivity, options.folds)

    @cached_property
    def _step(self) -> Any:
        return compiled(self.model)

    @cached_property
    def _validation(self) -> NDArray[np.float32]:
        return self._predicted(np.asarray(decoded(self.split, VALIDATION, self.image_size)))

    def _predicted(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return predict_probabilities(self._step, images)

    def export(self) -> Exported:
        """Write and verify every requested artifact; a failed gate shows in its `verdict` and does not raise here.

        Raises:
            MissingDependencyError: there is no runtime to verify a format with.
            OptionError: the operating points cannot be fitted as demanded; see `operating_demand`.
            RunError: likewise, or another process is working on the run.
            GateError: an artifact would be int8 in name only, or the accuracy demand on int8 cannot be met.
        """
        with locked(self.run.folder):
            remove_leftovers(self.run)
            return self._export()

    def latency_costs(self) -> dict[Quantization, tuple[LatencyCost, ...]]:
        """The latency cost, on this machine, of the layers that `export` left in float to meet the accuracy demand."""

        def tflite(quantization: Quantization, releases: int) -> bytes:
            converter = self._converter(lambda integers: self.controlled.graph(integers, releases))
            return converter.model_bytes(ArtifactFormat.TFLITE, quantization)

        images = reference_images(self.image_size)
        return {
            quantization: latency_costs(control, partial(tflite, quantization), images, self.stage)
            for quantization, control in self.controlled.controls.items()
            if control.layers
        }

    def _export(self) -> Exported:
        for kind in self.recipe.formats:
            runtimes_for(kind)
        # Refuse bad options before spending minutes on conversion.
        _ = self.demand
        inputs = reference_images(self.image_size)
        reference = _Reference(
            reference_of(
                self._step,
                self.split,
                self.image_size,
                self.temperature,
                Scope.of_export(self.run.phantoms),
                self.stage,
            ),
            inputs,
            packed(inputs),
            apply_temperature(self._predicted(inputs), self.temperature),
        )
        reference_sha256 = hashlib.sha256(reference.content).hexdigest()
        shared = shared_metadata(
            self.run, self.split, self.recipe, self.temperature, self.quantized.model_hash, reference_sha256
        )
        artifacts: list[Artifact] = []
        notes: list[str] = []
        for quantization in self.recipe.quantize:
            self.controlled.meet(quantization, reference.split)
            for kind in self.recipe.formats:
                published = self._published(kind, quantization, reference, shared)
                notes += published.notes
                artifacts.append(published.artifact)
        notes += update_card(self.bundle).notes
        return Exported(tuple(artifacts), tuple(notes))

    def _published(
        self, kind: ArtifactFormat, quantization: Quantization, reference: _Reference, shared: SharedMetadata
    ) -> Published:
        content = self.converter.model_bytes(kind, quantization)
        path = self.bundle / f"{NAME}-{self.controlled.yields(quantization)}.{kind}"
        with tempfile.TemporaryDirectory() as folder:
            converted = Path(folder) / path.name
            converted.write_bytes(content)
            verified = self._verified(converted, kind, quantization, reference)
        metadata = joined(shared, verified)
        is_superseded = partial(self.controlled.is_superseded, quantization=quantization)
        return publish(path, sealed(content, metadata), metadata, reference.content, is_superseded)

    def _verified(
        self, file: Path, kind: ArtifactFormat, quantization: Quantization, reference: _Reference
    ) -> OwnMetadata:
        """The metadata for a converted file that has none yet, from its outputs."""
        yields = self.controlled.yields(quantization)
        if quantization.is_integer and not yields.is_mixed:
            _require_integers(file, kind)
        answers = reference.answers(file, kind, self.recipe, self.stage)
        probabilities = answers.split
        floor = INT8_FLOOR if self.recipe.output_type == "int8" else FLOOR
        control = self.controlled.judged(quantization, file.name, reference.split, probabilities)
        parity = reference.split.compare(probabilities, self.recipe.parity, floor)
        record = None if self.demand is None else self.demand.record(reference.split.of_part(probabilities, VALIDATION))
        return OwnMetadata(
            format=kind,
            quantization=yields,
            calibration=self.controlled.described(quantization, control),
            packages=package_versions(),
            operating_point=None if record is None else to_json(record),
            parity=RecordedParity(answers.runtime, LABELLED_PART, parity),
            reference_outputs=ReferenceOutputs(answers.runtime, _rows(answers.outputs), _rows(reference.outputs)),
        )


def _require_layers_to_keep(recipe: Recipe) -> None:
    """Raises OptionError if a recipe's artifacts have no layers to leave in float."""
    where = f"recipe {recipe.name}" if recipe.name else "these options"
    if recipe.output_type is OutputType.INT8:
        raise OptionError(f"--max-drop, --max-disagreement: {where} is for a device that computes no layer in float")
    if not any(quantization.is_integer for quantization in recipe.quantize):
        raise OptionError("--max-drop, --max-disagreement: nothing is quantized here; add --quantize int8 or int8-ptq")


def _rows(probabilities: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in probabilities.tolist())


def _require_integers(path: Path, kind: ArtifactFormat) -> None:
    """Raises GateError if a file is int8 in name only."""
    computation = computation_of(path, kind)
    if computation.verdict(Quantization.INT8) is not ComputationVerdict.INT8:
        raise GateError(
            f"{path.name}: only {100 * computation.integer_share:.1f} % of its multiply-accumulates would be in "
            f"integers; in float: {', '.join(computation.float_operators[:5])}"
        )
