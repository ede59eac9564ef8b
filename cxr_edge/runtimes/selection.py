"""Which bundle and which artifact a command means."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import MANIFEST, listed_artifacts
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.verdict import FAILED
from cxr_edge.errors import ArtifactError
from cxr_edge.imaging import decode
from cxr_edge.imaging.rule import same_pixels
from cxr_edge.runs import Run, find_run
from cxr_edge.runtimes.base import RUNTIMES, Runtime


def find_bundle(bundle: Path | None, run: Path | None = None) -> Path:
    """The named bundle, the named run's latest, this folder if it is one, or the latest run's. Raises RunError."""
    if bundle is not None:
        return bundle
    if run is None and Path(MANIFEST).is_file():
        return Path()
    return find_run(run).latest_bundle()


def run_of(bundle: Path) -> Run:
    """The run whose bundle this is. Raises RunError where it lies somewhere else."""
    run = Run(bundle.resolve().parent)
    run.require_model()
    return run


def best_artifacts(folder: Path, runtime: Runtime | None = None) -> list[Artifact]:
    """What to predict with: artifacts that did not fail their gate, of the best quantization, int8 first.

    TFLite comes before ONNX; the files are not checked against their hashes yet (`cxr_edge.artifacts.bundle.checked`).

    Args:
        folder: the bundle.
        runtime: consider only what it reads; None for what any runtime installed here reads.

    Raises:
        ArtifactError: there is no such artifact.
    """
    runtimes = [one for one in RUNTIMES if one.installed()] if runtime is None else [runtime]
    formats = {kind for one in runtimes for kind in one.formats}
    able = [artifact for artifact in listed_artifacts(folder) if artifact.format in formats]
    if not able:
        what = "any runtime installed here" if runtime is None else runtime.title
        raise ArtifactError(
            f"{folder}: nothing in it can be read by {what}; pip install 'cxr-edge[device]', or export another format"
        )

    def rank(artifact: Artifact) -> tuple[bool, int]:
        return artifact.verdict in (None, FAILED), artifact.quantization.rank

    best = min(rank(artifact) for artifact in able)
    return sorted(
        (artifact for artifact in able if rank(artifact) == best),
        key=lambda artifact: list(ArtifactFormat).index(artifact.format),
    )


def warning_about(artifact: Artifact) -> str | None:
    """A line about an artifact that may not answer here as it was validated; None where nothing is known against it."""
    if not same_pixels(artifact.metadata.imaging):
        return f"{artifact.name}: was trained on pixels of another imaging rule than this version of cxr-edge has"
    if artifact.verdict is None:
        return f"{artifact.name}: was never verified against the Keras model"
    if artifact.verdict == FAILED:
        return f"{artifact.name}: failed its parity gate"
    return None


def warning_about_image(artifact: Artifact, path: Path) -> str | None:
    """A line about an image that this version reads otherwise than the one that trained the artifact; None of others.

    Raises:
        ImageError, MissingDependencyError.
    """
    if decode.reads_otherwise(artifact.metadata.imaging, path):
        return f"read by the window or rescale in its functional groups, as {artifact.name} was not trained to see it"
    return None
