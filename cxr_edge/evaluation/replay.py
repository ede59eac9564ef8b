"""Replay of the reference inputs: a device proves, without patient data, that it computes what was validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import REFERENCES
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import ArtifactError, MissingDependencyError
from cxr_edge.evaluation.logits import floor_of, signal_to_noise
from cxr_edge.evaluation.reference_images import reference_inputs
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.processors import usable_cores
from cxr_edge.runtimes.base import Runtime, runtimes_for
from cxr_edge.runtimes.loaded import load_artifact, require_files_known
from cxr_edge.runtimes.selection import Selection
from cxr_edge.runtimes.trial import Trial


@dataclass(frozen=True)
class ReplayResult:
    """What one artifact computes for the reference inputs on one runtime, compared with what was recorded at export.

    The `_to_keras` figures compare it with the Keras model instead. Signal-to-noise ratios are in dB. They are None if
    any value is non-finite, and so are `probabilities` `[M][K]`, which serve to compare two devices.
    """

    DERIVED: ClassVar[Mapping[str, str]] = {"agreement": "agreement"}

    runtime: str
    artifact: str
    recorded_on: str
    images: int
    same_top: int
    largest_difference: float
    tolerance: float
    largest_difference_to_keras: float
    verdict: Verdict
    probabilities: tuple[tuple[float, ...], ...] | None
    signal_to_noise_db: float | None = None
    #: None in records from before November 2026, like the ratios.
    agreement_to_keras: float | None = None
    signal_to_noise_to_keras_db: float | None = None

    @property
    def agreement(self) -> float:
        """Share of the inputs with the recorded top class."""
        return self.same_top / self.images


class Replay(NamedTuple):
    """A result for each pair of artifact and runtime, and one human-readable line for each that was left out."""

    results: tuple[ReplayResult, ...]
    left_out: tuple[str, ...]


def replay(selection: Selection, runtimes: Sequence[Runtime] | None, threads: int | None) -> Replay:
    """Run the reference inputs through each artifact on each runtime, and compare with what was recorded at export.

    Args:
        selection: the available artifacts of a bundle, or single files.
        runtimes: None for all installed ones.
        threads: per inference; None for all usable cores.

    Raises:
        ArtifactError: an artifact has no reference outputs, or no runtime reads any of them.
        MissingDependencyError: a named runtime is not installed.
    """
    results, left_out = [], [f"{name}: is missing" for name in selection.absent]
    pairs: list[tuple[Artifact, Runtime]] = []
    for artifact in (replayed for selected in selection.artifacts for replayed in _replayed(selected)):
        try:
            candidates = runtimes_for(artifact.format) if runtimes is None else runtimes
        except MissingDependencyError as error:
            left_out.append(f"{artifact.name}: {error}")
            continue
        readers = [runtime for runtime in candidates if artifact.format in runtime.formats]
        pairs += [(artifact, runtime) for runtime in readers]
        if not readers:
            left_out.append(f"{artifact.name}: none of the named runtimes reads it")
    with Trial() as trial:
        for artifact, runtime in pairs:
            require_files_known(trial, artifact, runtime)
    for artifact, runtime in pairs:
        session = load_artifact(artifact, runtime, usable_cores() if threads is None else threads)
        score = partial(score_images, session, name=artifact.path)
        results.append(replay_artifact(artifact, score, runtime.title))
    if not results:
        if runtimes is None:
            raise ArtifactError(f"nothing can be verified here: {'; '.join(left_out)}")
        names = ", ".join(artifact.name for artifact in selection.artifacts)
        raise ArtifactError(f"{names}: cannot be read by {', '.join(runtime.title for runtime in runtimes)}")
    return Replay(tuple(results), tuple(left_out))


def _replayed(artifact: Artifact) -> list[Artifact]:
    """The artifact, or a cascade and both of its models: in the cascade, the full one answers few of the inputs."""
    return [*artifact.members, artifact] if isinstance(artifact, Cascade) else [artifact]


def replay_artifact(
    artifact: Artifact, score: Callable[[NDArray[np.uint8]], NDArray[np.float32]], runtime: str
) -> ReplayResult:
    """Compare an artifact's outputs for its reference inputs with those recorded at export.

    Args:
        artifact: with reference outputs.
        score: gives its probabilities float32 `[M, K]` for inputs uint8 `[M, S, S, 1]`.
        runtime: title of the runtime.

    Raises:
        ArtifactError: it has no reference outputs, or the inputs are unavailable.
    """
    inputs = reference_inputs(artifact)
    result = compared_with_recorded(artifact, score(inputs.images), runtime)
    if result.verdict is Verdict.FAILED and not inputs.known:
        # Correct outputs for different inputs fail in the same way; but different inputs never make wrong outputs pass.
        raise ArtifactError(
            f"{artifact.path}: answers differently than recorded, but to inputs that were drawn again and may "
            f"differ from those at export; copy {REFERENCES} from its bundle beside it"
        )
    return result


def compared_with_recorded(artifact: Artifact, answers: NDArray[np.float32], runtime: str) -> ReplayResult:
    """Compare an artifact's outputs `[M, K]` for the reference inputs, or the first of them, with the recorded ones.

    Raises:
        ArtifactError: fewer outputs were recorded.
    """
    reference, tolerance, floor = artifact.reference, artifact.quantization.tolerance, floor_of(artifact)
    if reference is None or len(reference.probabilities) < len(answers):
        raise ArtifactError(f"{artifact.path}: has fewer reference outputs than there are inputs; export it again")
    recorded = _recorded(artifact, answers, reference.probabilities)
    keras = np.array(reference.keras, dtype=np.float32)[: len(answers)]
    same, same_as_keras = (answers.argmax(axis=1) == other.argmax(axis=1) for other in (recorded, keras))
    # Comparisons with NaN are always false: it counts as the largest possible difference, so that it fails.
    largest, to_keras = (float(np.nan_to_num(np.abs(answers - other), nan=1.0).max()) for other in (recorded, keras))
    return ReplayResult(
        runtime=runtime,
        artifact=artifact.name,
        recorded_on=reference.runtime,
        images=len(answers),
        same_top=int(same.sum()),
        signal_to_noise_db=signal_to_noise(recorded, answers, floor),
        largest_difference=largest,
        tolerance=tolerance,
        agreement_to_keras=float(same_as_keras.mean()),
        signal_to_noise_to_keras_db=signal_to_noise(keras, answers, floor),
        largest_difference_to_keras=to_keras,
        verdict=Verdict.PASSED if largest <= tolerance else Verdict.FAILED,
        probabilities=tuple(map(tuple, answers.tolist())) if np.isfinite(answers).all() else None,
    )


def _recorded(
    artifact: Artifact, answers: NDArray[np.float32], probabilities: tuple[tuple[float, ...], ...]
) -> NDArray[np.float32]:
    """The recorded outputs `[M, K]` to compare answers with.

    If the recorded confidence of a cascade's small model is so close to the threshold that another runtime's rounding
    decides which model answers, either answer is right: the closer one is used.
    """
    recorded = np.array(probabilities, dtype=np.float32)[: len(answers)]
    if not isinstance(artifact, Cascade):
        return recorded
    small, full = (_outputs_of(member)[: len(answers)] for member in artifact.members)
    close = np.abs(small.max(axis=1) - artifact.threshold) <= artifact.quantization.tolerance
    distances = [np.nan_to_num(np.abs(answers - outputs), nan=1.0).max(axis=1) for outputs in (small, full)]
    nearer = np.where((distances[0] <= distances[1])[:, None], small, full)
    return np.where(close[:, None], nearer, recorded)


def _outputs_of(artifact: Artifact) -> NDArray[np.float32]:
    return np.array(() if artifact.reference is None else artifact.reference.probabilities, dtype=np.float32)
