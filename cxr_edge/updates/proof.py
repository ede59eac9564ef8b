"""Proof that a bundle computes on this device what was validated, and fast enough."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.benchmarking.latency import Candidate, measure
from cxr_edge.errors import GateError, MissingDependencyError
from cxr_edge.evaluation.reference_images import reference_inputs
from cxr_edge.evaluation.replay import ReplayResult, replay
from cxr_edge.prediction.fastest import fastest
from cxr_edge.processors import usable_cores
from cxr_edge.runtimes.base import all_runtimes
from cxr_edge.runtimes.loaded import load_artifact
from cxr_edge.runtimes.selection import artifacts_of_bundle, best_artifacts
from cxr_edge.runtimes.trial import Trial

_QUERIES, _SECONDS = 100, 1.0


@dataclass(frozen=True)
class Proof:
    """The replay of the reference inputs on each runtime, and the 90th percentile of the best artifact's latency, if
    requested.
    """

    replayed: tuple[ReplayResult, ...]
    p90_ms: float | None


def prove(folder: Path, max_p90_ms: float | None) -> Proof:
    """Run a bundle's reference inputs on every installed runtime, first in a separate process.

    Args:
        folder: the bundle.
        max_p90_ms: limit on the 90th percentile of the inference time in milliseconds; None to skip the measurement.

    Raises:
        ArtifactError: the bundle has no reference outputs, or crashes a runtime.
        GateError: its outputs differ from those recorded at export, or it is too slow.
        MissingDependencyError: no runtime is installed.
    """
    runtimes = [runtime for runtime in all_runtimes() if runtime.installed()]
    if not runtimes:
        raise MissingDependencyError("a runtime", "device")
    with Trial() as trial:
        for artifact in read_bundle(folder):
            for runtime in runtimes:
                if artifact.format in runtime.formats:
                    trial.require_survivable(artifact.path, runtime)
    replayed = replay(artifacts_of_bundle(folder), runtimes, None).results
    failed = [f"{row.artifact} on {row.runtime}" for row in replayed if row.verdict is not Verdict.PASSED]
    if failed:
        raise GateError(
            f"{', '.join(failed)}: computes something other than what was recorded at export; not installed"
        )
    return Proof(replayed, None if max_p90_ms is None else required_p90_ms(folder, max_p90_ms, "not installed"))


def required_p90_ms(folder: Path, max_p90_ms: float, otherwise: str) -> float:
    """The 90th percentile of a bundle's inference time here, in milliseconds. Raises GateError if it is above a limit,
    whose message ends with what happens `otherwise`.
    """
    p90 = _p90_ms(folder)
    if p90 > max_p90_ms:
        raise GateError(
            f"p90 of one inference is {p90:.1f} ms here, more than the {max_p90_ms:g} ms allowed; {otherwise}"
        )
    return p90


def _p90_ms(folder: Path) -> float:
    """The 90th percentile for the artifact that `predict` would use, on all cores."""
    artifact, runtime, _ = fastest(best_artifacts(folder), usable_cores())
    candidate = Candidate(artifact.name, runtime.title, load_artifact(artifact, runtime, usable_cores()), 0.0)
    measure([candidate], reference_inputs(artifact).images, _QUERIES, _SECONDS)
    return candidate.figures().p90_ms
