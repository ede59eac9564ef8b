"""Compare artifacts with their Keras model (TensorFlow), for export, verify and report alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.parity_result import ParityResult
from cxr_edge.artifacts.verdict import Verdict, worst
from cxr_edge.data.split import Split, run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.conditions import (
    LABELLED_PART,
    Condition,
    OtherImages,
    Scope,
    conditions_of,
    read_other_images,
)
from cxr_edge.evaluation.demands import gate_of
from cxr_edge.evaluation.logits import FLOOR, floor_of
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.files import sha256_of
from cxr_edge.lowering.activations import ActivationType
from cxr_edge.processors import usable_cores
from cxr_edge.progress import Stage
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import ArtifactSession, Session, require_loadable, runtimes_for
from cxr_edge.runtimes.loaded import CascadeSession, joined, require_files_known
from cxr_edge.runtimes.selection import artifacts_of_bundle, run_of
from cxr_edge.runtimes.trial import Trial
from cxr_edge.statistics.agreement import ScoredCondition, compare_conditions, scored_conditions
from cxr_edge.statistics.parity import flipped, parity, with_conditions
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """The Keras model's probabilities `[n, K]` under each condition, with the artifacts' temperature.

    The first condition is the whole part with labels; the last is the `other` images, if any.
    """

    split: Split
    scope: Scope
    temperature: float
    conditions: tuple[Condition, ...]
    probabilities: tuple[Probabilities, ...]
    other: OtherImages | None = None

    @property
    def targets(self) -> NDArray[np.int64]:
        """Label indices of the part with labels."""
        return self.split.targets(LABELLED_PART)

    @property
    def images(self) -> int:
        """Number of inferences per artifact."""
        return sum(map(len, self.conditions))

    def score(
        self, session: Session, tick: Callable[[], None] | None = None, sizes: Sequence[int] = ()
    ) -> tuple[Probabilities, ...]:
        """An artifact's probabilities under each condition.

        Args:
            session: the loaded artifact.
            tick: called after each image.
            sizes: its input size, if it differs from the reference's; both sizes of a cascade.
        """
        at_sizes = [self.at_size(size) for size in sizes] or [self.conditions]
        return tuple(
            score_images(session, joined([condition.pixels() for condition in same]), tick)
            for same in zip(*at_sizes, strict=True)
        )

    def at_size(self, size: int) -> tuple[Condition, ...]:
        """The same images at another input size."""
        other = self.other
        if other is not None:
            resized = read_other_images(other.data, self.split.labels, size, self.split.resize)
            other = replace(other, images=resized.images)
        return conditions_of(self.split, size, self.scope, other)

    def of_part(self, answers: Sequence[Probabilities], part: str) -> Probabilities:
        """The probabilities from `score` for a part without a shift."""
        places = [(condition.part, condition.shift) for condition in self.conditions]
        return answers[places.index((part, None))]

    def compare(self, answers: Sequence[Probabilities], gate: Gate, floor: float = FLOOR) -> ParityResult:
        """Judge the probabilities from `score`; `floor` is as for `signal_to_noise`."""
        labels = self.split.labels
        result = parity(self.probabilities[0], answers[0], self.targets, labels, gate, self.temperature)
        if len(self.conditions) == 1:
            return result
        return with_conditions(result, compare_conditions(self.scored(answers), labels, floor))

    def scored(self, answers: Sequence[Probabilities]) -> list[ScoredCondition]:
        """The conditions with both probabilities, those from `score` as the candidate's."""
        return scored_conditions(self.conditions, self.probabilities, answers)


@dataclass(frozen=True)
class ScoredBundle:
    """A run's bundle with the probabilities of each artifact under the conditions of the reference.

    `artifacts` has each artifact, the title of its runtime, and its probabilities; `left_out` says why the bundle's
    other artifacts are missing.
    """

    run: Run
    reference: Reference
    artifacts: tuple[tuple[Artifact, str, tuple[Probabilities, ...]], ...]
    left_out: tuple[str, ...] = ()


def session_of(artifact: Artifact) -> tuple[str, Session]:
    """As `preferred_session`, for an artifact with metadata, which says whether its activations are signed."""

    def load(file: Artifact) -> tuple[str, ArtifactSession]:
        recipe = file.metadata.shared.recipe or {}
        return preferred_session(file.path, file.format, recipe.get("activation_type") == ActivationType.INT8)

    if not isinstance(artifact, Cascade):
        return load(artifact)
    return runtimes_for(artifact.format)[0].title, CascadeSession(artifact, lambda file: load(file)[1])


def preferred_session(
    path: Path, kind: ArtifactFormat, signed_activations: bool = False
) -> tuple[str, ArtifactSession]:
    """The title of the runtime that a format is verified on, and a session.

    Args:
        path: the file.
        kind: its format.
        signed_activations: on x86 too, compute an ONNX file's int8 activations in integers, as its device will.

    Raises:
        MissingDependencyError: no runtime reads the format here.
        ArtifactError: the runtime cannot read the file.
    """
    runtime = runtimes_for(kind)[0]
    if kind == ArtifactFormat.ONNX and signed_activations and runtime.name == "onnx_runtime":
        from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession

        require_loadable(path)
        with Trial() as trial:
            trial.require_known(path, runtime)
        return runtime.title, ONNXRuntimeSession(path, usable_cores(), as_on_arm=True)
    return runtime.title, runtime.load(path, usable_cores())


def reference_of(
    step: Any,
    split: Split,
    size: int,
    temperature: float,
    scope: Scope,
    progress: Stage,
    other: OtherImages | None = None,
) -> Reference:
    """Run the images of a split that the scope selects, and the other images, through a `compiled` Keras model."""
    probabilities = []
    conditions = conditions_of(split, size, scope, other)
    with progress("classifying with Keras", sum(map(len, conditions))) as bar:
        for condition in conditions:
            probabilities.append(apply_temperature(predict_probabilities(step, condition.pixels()), temperature))
            bar.advance(len(condition))
    return Reference(split, scope, temperature, conditions, tuple(probabilities), other)


def score_bundle(folder: Path, scope: Scope, progress: Stage, data: Path | None = None) -> ScoredBundle:
    """Run the images that the scope selects, and other images, through the Keras model and every artifact.

    Args:
        folder: a bundle in its run's folder.
        scope: how many images of each part.
        progress: shows progress.
        data: a folder or table of other images.

    Raises:
        ArtifactError: a file does not match its hash, or the bundle was exported from another model.
        DataError: images are unavailable.
        MissingDependencyError: TensorFlow or a runtime is not installed.
        RunError: the bundle is not in a run's folder.
    """
    run = run_of(folder)
    selection = artifacts_of_bundle(folder)
    artifacts, shared = selection.artifacts, selection.artifacts[0].metadata.shared
    if shared.training.model_sha256 != sha256_of(run.model_file):
        raise ArtifactError(f"{folder}: was exported from another model than {run.model_file}; export again")
    split, size = run_split(run), artifacts[0].image_size
    other = None if data is None else read_other_images(data, split.labels, size, split.resize)
    reference = reference_of(compiled(load_classifier(run)), split, size, shared.temperature, scope, progress, other)
    scored = []
    with Trial() as trial:
        for artifact in artifacts:
            require_files_known(trial, artifact, runtimes_for(artifact.format)[0])
    for artifact in artifacts:
        runtime, session = session_of(artifact)
        sizes = [file.image_size for file in artifact.members] if isinstance(artifact, Cascade) else ()
        with progress(f"verifying {artifact.name}", reference.images) as bar:
            scored.append((artifact, runtime, reference.score(session, bar.tick, sizes)))
    left_out = tuple(f"{name}: is missing" for name in selection.absent)
    return ScoredBundle(run, reference, tuple(scored), left_out)


class VerifiedBundle(NamedTuple):
    """A result for each artifact, and one human-readable line for each that was left out."""

    results: tuple[VerifiedArtifact, ...]
    left_out: tuple[str, ...]


def verify_bundle(
    folder: Path, demands: dict[str, float], scope: Scope, progress: Stage, data: Path | None = None
) -> VerifiedBundle:
    """Parity figures and verdict of each artifact that is present.

    Args:
        folder: a bundle in its run's folder.
        demands: arguments of `Gate` that override those the artifact was exported with.
        scope: how many images of each part.
        progress: shows progress.
        data: a folder or table of other images, labelled or not.

    Raises:
        OptionError: a demand is not a share; otherwise as `score_bundle`.
    """
    Gate(**demands).check()
    scored = score_bundle(folder, scope, progress, data)
    return VerifiedBundle(tuple(compare_bundle(scored, demands)), scored.left_out)


def compare_bundle(scored: ScoredBundle, demands: dict[str, float]) -> list[VerifiedArtifact]:
    """The parity of each artifact with its flipped images, by its gate at export, overridden by the demands.

    If only the labelled images were scored, the other conditions are those recorded at export.
    """
    reference, split = scored.reference, scored.reference.split
    names = [item.path for item in split.part(LABELLED_PART)]
    verified = []
    for artifact, runtime, answers in scored.artifacts:
        gate = gate_of(artifact, demands)
        result = reference.compare(answers, gate, floor_of(artifact))
        if not result.conditions and artifact.parity is not None and artifact.parity.result.conditions:
            result = with_conditions(result, artifact.parity.result.conditions)
        verified.append(
            VerifiedArtifact(
                artifact=artifact.name,
                bytes=artifact.bytes,
                runtime=runtime,
                part=LABELLED_PART,
                parity=result,
                flipped=flipped(reference.probabilities[0], answers[0], reference.targets, split.labels, names),
                on_other=_on_other(reference, answers, gate),
            )
        )
    return verified


def _on_other(reference: Reference, answers: Sequence[Probabilities], gate: Gate) -> ParityResult | None:
    if reference.other is None or reference.other.targets is None:
        return None
    first, second = reference.probabilities[-1], answers[-1]
    labels, temperature = reference.split.labels, reference.temperature
    result = parity(first, second, reference.other.targets, labels, gate, temperature)
    # Agreement on them is already demanded as a condition.
    demands = result.demands[1:]
    failed = result.largest_difference is None
    return replace(
        result, demands=demands, verdict=Verdict.FAILED if failed else worst(demand.verdict for demand in demands)
    )
