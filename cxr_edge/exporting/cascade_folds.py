"""A cascade of each fold of two cross-validations, judged on all test parts together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.errors import GateError, OptionError
from cxr_edge.evaluation.cascade_fit import CascadeFit, cascade_fit_of
from cxr_edge.evaluation.pooled_parity import PooledCascades
from cxr_edge.exporting.cascade import CascadeExport, CascadeOptions, artifacts_of, cascade_folder, cascade_of_runs
from cxr_edge.exporting.export_folds import SHIFT_IMAGES
from cxr_edge.exporting.verify_folds import verify_folds
from cxr_edge.progress import Stage, silently, titled
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import cross_validation_named, fold_runs
from cxr_edge.training.folds import forget_models, require_same_images


def cascade_of(
    small: Path, full: Path, options: CascadeOptions, output: Path | None = None, stage: Stage = silently
) -> CascadeExport | PooledCascades:
    """The cascade of two runs; or of each fold of a cross-validation with its student.

    Args:
        small: as for `cascade_of_runs`, or the folder of a cross-validation's exported students.
        full: likewise, or the folder of that cross-validation.
        options: which artifacts, and what is demanded.
        output: the new bundle; None for one in the full run, or in each of its folds.
        stage: opened as each stage begins.

    Raises:
        OptionError: only one is a cross-validation, an output is named for folds, or a fold has another cascade.
        ArtifactError, GateError, MissingDependencyError, RunError, DataError: as `cascade_of_runs` and `verify_folds`.
    """
    folders = [cross_validation_named(path) for path in (small, full)]
    if folders == [None, None]:
        return cascade_of_runs(small, full, options, output, stage)
    students, teachers = folders
    if students is None or teachers is None:
        raise OptionError(f"{small}, {full}: one is a cross-validation and the other is not; name two of a kind")
    if output is not None:
        raise OptionError(f"--output {output}: the cascades of folds are written into the folds; leave it out")
    return _of_folds(fold_runs(students), fold_runs(teachers), options, stage)


def _of_folds(students: list[Run], runs: list[Run], options: CascadeOptions, stage: Stage) -> PooledCascades:
    """Write a cascade into each full fold that has none yet, and compare all with the folds' Keras models."""
    folder = runs[0].folder.parent
    if len(students) != len(runs):
        raise OptionError(f"{students[0].folder.parent} and {folder} have different numbers of folds")
    require_same_images(runs)
    fits = []
    for number, (student, run) in enumerate(zip(students, runs, strict=True), start=1):
        titled_stage = titled(stage, f"fold {number} of {len(runs)}")
        fits.append(_existing(student, run, options) or _new(student, run, options, titled_stage))
    parity = verify_folds(folder, {}, SHIFT_IMAGES, stage, cascade_folder(runs[0]).name)
    return PooledCascades(fits=tuple(fits), parity=parity)


def _new(student: Run, full: Run, options: CascadeOptions, stage: Stage) -> CascadeFit:
    try:
        return cascade_of_runs(student.folder, full.folder, options, stage=stage).fit
    except GateError as error:
        raise GateError(f"{full.folder}: {error}") from None
    finally:
        forget_models()


def _existing(student: Run, full: Run, options: CascadeOptions) -> CascadeFit | None:
    """The fit of a fold's cascade; None if there is no cascade yet. Raises OptionError if other options made it."""
    folder = cascade_folder(full)
    if not folder.exists():
        return None
    pair = artifacts_of(student.folder, full.folder, options)
    for cascade in listed_artifacts(folder):
        if isinstance(cascade, Cascade) and _hashes(cascade.members) == _hashes(pair):
            fit = cascade_fit_of(cascade.entry.fitted)
            if fit.demands == options.demands:
                return fit
    raise OptionError(f"{folder}: is of other files, or was made with other options; remove it")


def _hashes(artifacts: Sequence[Artifact]) -> list[str]:
    return [artifact.sha256 for artifact in artifacts]
