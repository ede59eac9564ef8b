"""`cxr-edge verify`: each artifact of a run's bundle against its Keras model, on the test split (TensorFlow)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split, run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.gate import Gate
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.exporting.judge import judged, preferred_session, scored
from cxr_edge.files import sha256_of
from cxr_edge.runs import Run
from cxr_edge.runtimes.selection import run_of
from cxr_edge.statistics.parity import flipped
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities


@dataclass(frozen=True)
class ScoredBundle:
    """Probabilities `[N, K]` of a run's test split, all with the bundle's temperature.

    `reference` is the Keras model's; `artifacts` has each artifact, the title of its runtime, and what it found.
    """

    run: Run
    split: Split
    temperature: float
    reference: NDArray[np.float32]
    artifacts: tuple[tuple[Artifact, str, NDArray[np.float32]], ...]


def score_bundle(folder: Path) -> ScoredBundle:
    """Run the test split through the Keras model and every artifact.

    Args:
        folder: a bundle in its run's folder.

    Raises:
        ArtifactError: a file does not match its hash, or the bundle descends from another model.
        MissingDependencyError: TensorFlow or a runtime is not installed.
        RunError: the bundle does not lie in a run's folder.
    """
    run = run_of(folder)
    artifacts = read_bundle(folder)
    shared = read_manifest(folder).shared
    if shared.training.model_sha256 != sha256_of(run.model_file):
        raise ArtifactError(f"{folder}: was exported from another model than {run.model_file}; export again")
    split = run_split(run)
    images = np.asarray(decoded(split, "test", artifacts[0].image_size))
    reference = apply_temperature(predict_probabilities(compiled(load_classifier(run)), images), shared.temperature)
    rows = []
    for artifact in artifacts:
        runtime, session = preferred_session(artifact.path, artifact.format)
        rows.append((artifact, runtime, scored(session, artifact.name, images)))
    return ScoredBundle(run, split, shared.temperature, reference, tuple(rows))


def verify_bundle(folder: Path, demands: dict[str, float]) -> list[dict[str, Any]]:
    """Parity figures and verdict of each artifact.

    Args:
        folder: a bundle in its run's folder.
        demands: arguments of `Gate` that take the place of those the artifact was exported with.

    Raises:
        OptionError: a demand is no share; otherwise as `score_bundle`.
    """
    Gate(**demands).check()
    return compared(score_bundle(folder), demands)


def compared(bundle: ScoredBundle, demands: dict[str, float]) -> list[dict[str, Any]]:
    """`parity` of each artifact, by the gate it was exported with and the demands, with its `flipped` images."""
    targets, labels = bundle.split.targets("test"), bundle.split.labels
    names = [item.path for item in bundle.split.part("test")]
    rows = []
    for artifact, runtime, found in bundle.artifacts:
        gate = Gate(**{**(artifact.parity or {}).get("gate", {}), **demands})
        rows.append(
            {
                "artifact": artifact.name,
                "bytes": artifact.bytes,
                **judged(bundle.reference, found, targets, labels, gate, bundle.temperature, runtime),
                "flipped": flipped(bundle.reference, found, targets, labels, names),
            }
        )
    return rows
