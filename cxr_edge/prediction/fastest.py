"""`--runtime auto`: the fastest runtime that computes what was validated, measured once and remembered."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import MANIFEST, checked
from cxr_edge.errors import CacheError, CxrEdgeError, GateError
from cxr_edge.files import cache_folder, write_json
from cxr_edge.processors import describe_cpu, usable_cores
from cxr_edge.runtimes.base import CPU, Runtime, every_runtime, require_loadable, runtimes_for

_QUERIES = 20
_SECONDS = 0.2
#: Only the first reference inputs, which are unshifted; the shifted ones are for `verify`.
_IMAGES = 12


def fastest(artifacts: Sequence[Artifact], threads: int) -> tuple[Artifact, Runtime, str | None]:
    """Select the artifact of a bundle to run, and its runtime.

    The first time on a machine, every available runtime that reads one of them replays the bundle's reference inputs
    and is timed, interleaved with the others; those with wrong outputs are left out. The choice is cached until an
    artifact, a runtime's installation, the CPU or the number of threads changes, or its accelerator is gone.

    Returns:
        The artifact, the runtime, and a note on how they were selected, None if the choice was cached or there was
        none.

    Raises:
        MissingDependencyError: no runtime here reads them.
        GateError: none computes what was recorded at export.
    """
    pairs = [
        (artifact, runtime)
        for runtime in every_runtime()
        if runtime.installed()
        for artifact in artifacts
        if artifact.format in runtime.formats
    ]
    on_cpu = [pair for pair in pairs if pair[1].provider == CPU]
    if not on_cpu:
        # Raises an error that says what to install.
        runtimes_for(artifacts[0].format)
    if not _has_references(artifacts[0]):
        # There is no record of the expected outputs, so the order of preference decides.
        note = "there are no reference inputs to try the runtimes on; using the first that is installed"
        return (*on_cpu[0], note if len(on_cpu) > 1 else None)
    if len(pairs) == 1:
        return (*on_cpu[0], None)
    try:
        cached = json.loads(_cache_file(pairs, threads).read_text(encoding="utf-8"))
        for artifact, runtime in pairs:
            is_chosen = (artifact.name, runtime.option) == (cached["artifact"], cached["runtime"])
            if is_chosen and _is_available(runtime):
                return artifact, runtime, None
    except (CacheError, OSError, ValueError, KeyError, TypeError):
        # Not measured yet, or damaged.
        pass
    artifact, runtime, account = _measured(pairs, threads)
    try:
        choice = {"artifact": artifact.name, "runtime": runtime.option, "account": account}
        write_json(_cache_file(pairs, threads), choice)
    except (CacheError, OSError) as error:
        # A service may have no writable folder.
        return artifact, runtime, f"{account}; it cannot be remembered ({error})"
    return artifact, runtime, f"{account}; remembered for this machine and bundle"


def _is_available(runtime: Runtime) -> bool:
    """Whether a remembered accelerator is still here: a driver or a GPU may go away; the CPU does not."""
    if runtime.provider == CPU:
        return True
    from cxr_edge.runtimes.accelerators import accelerator_states

    state = accelerator_states([runtime])[runtime.option]
    return state.missing is None and not (state.gpu is not None and state.gpu.is_software)


def _has_references(artifact: Artifact) -> bool:
    """Whether it holds reference outputs and is in a bundle rather than a single file."""
    has_outputs = artifact.reference is not None and artifact.metadata.reference_sha256 is not None
    return has_outputs and (artifact.members[0].path.parent / MANIFEST).is_file()


def _cache_file(pairs: Sequence[tuple[Artifact, Runtime]], threads: int) -> Path:
    installations = []
    for package in sorted({runtime.package for _, runtime in pairs}):
        # Instead of the version, which takes longer to look up than an inference.
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin) if spec and spec.origin else None
        installations.append([package, str(origin), origin.stat().st_mtime_ns if origin else 0])
    key = [sorted({artifact.sha256 for artifact, _ in pairs}), installations, describe_cpu(), usable_cores(), threads]
    return cache_folder() / f"fastest-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"


def _measured(pairs: Sequence[tuple[Artifact, Runtime]], threads: int) -> tuple[Artifact, Runtime, str]:
    from cxr_edge.artifacts.verdict import PASSED
    from cxr_edge.benchmarking.latency import Candidate, measure
    from cxr_edge.evaluation.reference_images import reference_inputs
    from cxr_edge.evaluation.replay import compared_with_recorded
    from cxr_edge.evaluation.scoring import score_images
    from cxr_edge.runtimes.accelerators import RemoteSession
    from cxr_edge.runtimes.loaded import load_artifact, require_files_known
    from cxr_edge.runtimes.trial import Trial

    images = reference_inputs(pairs[0][0]).images[:_IMAGES]
    candidates: list[tuple[Artifact, Runtime, Candidate]] = []
    off: list[str] = []
    for artifact in {artifact.path: artifact for artifact, _ in pairs}.values():
        for file in checked(artifact).members:
            require_loadable(file.path)
    with Trial() as trial:
        for artifact, runtime in pairs:
            title = f"{artifact.format} on {runtime.title}"
            try:
                require_files_known(trial, artifact, runtime)
                session = load_artifact(artifact, runtime, threads)
                if isinstance(session, RemoteSession) and session.in_software():
                    # Not a GPU, and slower than the CPU itself: seconds or minutes per image.
                    continue
                answers = score_images(session, images, name=artifact.path)
            except CxrEdgeError as error:
                if runtime.provider == CPU:
                    off.append(f"{title}: {error}")
                continue
            result = compared_with_recorded(artifact, answers, runtime.title)
            if result.verdict == PASSED:
                candidates.append((artifact, runtime, Candidate(title, runtime.title, session, 0.0)))
            else:
                off.append(f"{title} is off by {result.largest_difference:.3f}")
    if not candidates:
        raise GateError(f"no runtime here computes what was recorded at export: {'; '.join(off)}")
    measure([candidate for _, _, candidate in candidates], images, _QUERIES, _SECONDS)
    times = {id(candidate): candidate.figures().p50_ms for _, _, candidate in candidates}
    candidates.sort(key=lambda entry: times[id(entry[2])])
    named = ", ".join(f"{candidate.name} ({times[id(candidate)]:.1f} ms)" for _, _, candidate in candidates)
    artifact, runtime, _ = candidates[0]
    return artifact, runtime, "; ".join([f"using the fastest of: {named}", *off])
