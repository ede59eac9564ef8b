"""Which bundle and which artifacts a command refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import MANIFEST, bundle_in, checked, listed_artifacts, read_checked_artifact, require_any
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.errors import ArtifactError, OptionError, RunError
from cxr_edge.imaging import decode
from cxr_edge.imaging.rule import same_pixels
from cxr_edge.runtimes.base import Runtime, all_runtimes

if TYPE_CHECKING:
    from cxr_edge.runs import Run


def find_bundle(bundle: Path | None, run: Path | None = None) -> Path:
    """The named bundle, the named run's latest one, the current folder if it is a bundle, or the latest run's.

    In a folder that `cxr-edge install` manages, this is the active bundle.

    Raises:
        OptionError: both a bundle and a run are named.
        RunError: there is neither a bundle nor a run.
        ArtifactError: the installation record is damaged.
    """
    if bundle is not None and run is not None:
        raise OptionError("--bundle and --run both name a bundle; use only one of them")
    if bundle is not None:
        return bundle_in(bundle)
    if run is None and ((here := bundle_in(Path())) / MANIFEST).is_file():
        return here
    # A device has no runs.
    from cxr_edge.runs import find_run, latest_run

    if run is not None:
        return find_run(run).latest_bundle()
    try:
        return latest_run(trained=True).latest_bundle()
    except RunError:
        raise RunError(
            f"{Path.cwd()}: no bundle, and no trained run under runs/; name a bundle with --bundle, or a run with --run"
        ) from None


def run_of(bundle: Path) -> Run:
    """The run that a bundle belongs to. Raises RunError if the bundle is not in a run's folder."""
    from cxr_edge.runs import Run

    run = Run(bundle.resolve().parent)
    if not run.config_file.is_file():
        raise RunError(f"{bundle}: lies outside its run's folder, which is needed here; name the bundle in the run")
    run.require_model()
    return run


def model_path(artifact: Path | None, bundle: Path | None, run: Path | None) -> Path:
    """The named file, or the bundle of `find_bundle`. Raises OptionError if both are named, RunError."""
    if artifact is None:
        return find_bundle(bundle, run)
    _refuse_both(bundle, run)
    return artifact


def artifact_of(artifact: Path | None, bundle: Path | None) -> Path | None:
    """The named file, or the best artifact of the named bundle (for a cascade, the bundle); None if neither is named.

    Raises OptionError if both are named.
    """
    if bundle is None:
        return artifact
    if artifact is not None:
        raise OptionError("--artifact names a file by itself; leave out --bundle")
    return best_artifacts(find_bundle(bundle))[0].path


def select(files: Sequence[Path], bundle: Path | None, run: Path | None) -> Selection:
    """The named files, or the artifacts present in the bundle of `find_bundle`.

    Raises:
        OptionError: both are named; otherwise as `named_artifacts` and `artifacts_of_bundle`.
    """
    if not files:
        return artifacts_of_bundle(find_bundle(bundle, run))
    _refuse_both(bundle, run)
    return named_artifacts(files)


def _refuse_both(bundle: Path | None, run: Path | None) -> None:
    if bundle is not None or run is not None:
        raise OptionError("--artifact names a file by itself; leave out --bundle and --run")


@dataclass(frozen=True)
class Selection:
    """Artifacts to work on, each checked; `absent` lists files in the manifest that are missing here.

    `folder` is their bundle; None for individually named files.
    """

    artifacts: tuple[Artifact, ...]
    absent: tuple[str, ...] = ()
    folder: Path | None = None


def artifacts_of_bundle(folder: Path) -> Selection:
    """The artifacts present in a bundle: someone who needs only one may have deleted the others.

    Raises:
        ArtifactError: none of its artifacts is present, or one is not the file in the manifest.
    """
    folder = bundle_in(folder)
    listed = listed_artifacts(folder)
    there = _present(listed, folder)
    absent = tuple(artifact.name for artifact in listed if artifact not in there)
    return Selection(tuple(checked(artifact) for artifact in there), absent, folder)


def named_artifacts(files: Sequence[Path]) -> Selection:
    """Individual files, checked against the manifest beside them, if any.

    Raises:
        ArtifactError: one is missing or is not an artifact.
        OptionError: they do not take the same images, or two share a name, which records identify them by.
    """
    artifacts = tuple(read_checked_artifact(path) for path in dict.fromkeys(files))
    names = [artifact.name for artifact in artifacts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise OptionError(f"two artifacts are called {twice[0]}; rename one, or use two commands")
    for artifact in artifacts[1:]:
        if (artifact.image_size, artifact.resize) != (artifacts[0].image_size, artifacts[0].resize):
            raise OptionError(
                f"{artifact.path}: takes {artifact.image_size} px images ({artifact.resize}), {artifacts[0].name} "
                f"{artifacts[0].image_size} px ({artifacts[0].resize}); use two commands"
            )
    return Selection(artifacts)


def best_artifacts(folder: Path, runtime: Runtime | None = None) -> list[Artifact]:
    """The artifacts to predict with: those of the best quantization, int8 first.

    Those that failed their gate or were never verified are only returned if there are no others.

    TFLite comes before ONNX; the files are not checked against their hashes yet (`cxr_edge.artifacts.bundle.checked`).

    Args:
        folder: the bundle.
        runtime: consider only formats that it reads; None for those of all installed runtimes.

    Raises:
        ArtifactError: the bundle has no such artifact.
    """
    runtimes = [each for each in all_runtimes() if each.installed()] if runtime is None else [runtime]
    formats = {kind for each in runtimes for kind in each.formats}
    present = _present(listed_artifacts(folder), folder)
    readable = [artifact for artifact in present if artifact.format in formats]
    if not readable:
        what = "any runtime installed here" if runtime is None else runtime.title
        raise ArtifactError(
            f"{folder}: nothing in it can be read by {what}; pip install 'cxr-edge[device]', or export another format"
        )
    return best_of(readable)


def best_of(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """Of at least one artifact, those of the quantization that `best_artifacts` ranks first, TFLite before ONNX."""

    def rank(artifact: Artifact) -> tuple[bool, int]:
        return artifact.verdict in (None, Verdict.FAILED), artifact.quantization.rank

    best = min(rank(artifact) for artifact in artifacts)
    formats = list(ArtifactFormat)
    return sorted(
        (artifact for artifact in artifacts if rank(artifact) == best),
        key=lambda artifact: formats.index(artifact.format),
    )


def _present(listed: Sequence[Artifact], folder: Path) -> list[Artifact]:
    require_any(listed, folder)
    there = [artifact for artifact in listed if artifact.is_here]
    if not there:
        raise ArtifactError(
            f"{folder}: none of the artifacts in its {MANIFEST} is there ({listed[0].name}, ...); copy or export them"
        )
    return there


class Doubt(StrEnum):
    """Why an artifact may not answer here as it was validated."""

    OTHER_PIXELS = "was trained on pixels read by another imaging rule than this version of cxr-edge uses"
    UNVERIFIED = "was never verified against the Keras model"
    FAILED = "failed its parity gate"
    PHANTOMS = "was trained on phantoms, which are synthetic: its answers on X-rays mean nothing"


@dataclass(frozen=True)
class ArtifactWarning:
    """A warning about an artifact before its answers are used; as text, one line."""

    artifact: str
    doubt: Doubt

    def __str__(self) -> str:
        return f"{self.artifact}: {self.doubt}"


def warning_about(artifact: Artifact) -> ArtifactWarning | None:
    """Why an artifact may not answer here as it was validated; None if no reason is known."""
    doubt = None
    if not all(same_pixels(file.metadata.imaging) for file in artifact.members):
        doubt = Doubt.OTHER_PIXELS
    elif artifact.verdict is None:
        doubt = Doubt.UNVERIFIED
    elif artifact.verdict is Verdict.FAILED:
        doubt = Doubt.FAILED
    return None if doubt is None else ArtifactWarning(artifact.name, doubt)


def warnings_about_answers(artifact: Artifact) -> tuple[ArtifactWarning, ...]:
    """All warnings to show with each answer of an artifact, the one about training on phantoms first."""
    phantoms = ArtifactWarning(artifact.name, Doubt.PHANTOMS) if artifact.metadata.training.phantoms else None
    return tuple(warning for warning in (phantoms, warning_about(artifact)) if warning)


def warning_about_image(artifact: Artifact, path: Path) -> str | None:
    """A line about an image that this version decodes differently from the one that trained the artifact; otherwise
    None.

    Raises:
        ImageError, MissingDependencyError.
    """
    otherwise = decode.reads_otherwise(artifact.metadata.imaging, path)
    return None if otherwise is None else f"read {otherwise}, as {artifact.name} was not trained to see it"
