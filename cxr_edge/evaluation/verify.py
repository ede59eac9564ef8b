"""`cxr-edge verify`: each artifact of a run's bundle against its Keras model, on the test split (TensorFlow)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.bundle import read_bundle, read_manifest
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.parity import Gate, flipped, parity
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import tempered
from cxr_edge.files import sha256_of
from cxr_edge.locate import run_of
from cxr_edge.machine import usable_cores
from cxr_edge.reporting.progress import progress_bar
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.training.train import compiled, load_classifier, predict_probabilities


def verify_bundle(folder: Path, demands: dict[str, float]) -> list[dict[str, Any]]:
    """Parity figures and verdict of each artifact, on the runtime preferred for its format.

    Args:
        folder: a bundle in its run's folder.
        demands: arguments of `Gate` that take the place of those the artifact was exported with.

    Raises:
        ArtifactError: a file does not match its hash, or the bundle descends from another model.
        MissingDependencyError: TensorFlow or a runtime is not installed.
        RunError: the bundle does not lie in a run's folder.
    """
    run = run_of(folder)
    artifacts = read_bundle(folder)
    gates = [Gate(**{**(artifact.parity or {}).get("gate", {}), **demands}) for artifact in artifacts]
    for gate in gates:
        gate.check()
    shared = read_manifest(folder)["shared"]
    if shared["training"]["model_sha256"] != sha256_of(run.model_file):
        raise ArtifactError(f"{folder}: was exported from another model than {run.model_file}; export again")
    split = run_split(run)
    images = np.asarray(decoded(split, "test", artifacts[0].image_size))
    targets, names = split.targets("test"), [item.path for item in split.part("test")]
    # Bundles of before temperature scaling have none.
    temperature = float(shared.get("temperature", 1.0))
    reference = tempered(predict_probabilities(compiled(load_classifier(run)), images), temperature)
    rows = []
    for artifact, gate in zip(artifacts, gates, strict=True):
        runtime = runtimes_for(artifact.format)[0]
        session = runtime.load(artifact.path, usable_cores())
        with progress_bar(f"verifying {artifact.name}", len(images)) as bar:
            found = score_images(session, images, bar.tick)
        compared = parity(reference, found, targets, split.labels, gate, temperature)
        figures = {"runtime": runtime.title, "part": "test", **compared}
        changed = flipped(reference, found, targets, split.labels, names)
        rows.append({"artifact": artifact.name, "bytes": artifact.bytes, **figures, "flipped": changed})
    return rows
