"""A cascade of each fold of two cross-validations, judged on all test parts together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.errors import GateError, OptionError
from cxr_edge.evaluation.cascade_fit import CascadeFit, cascade_fit_of, summed
from cxr_edge.evaluation.pooled_parity import PooledCascades
from cxr_edge.exporting.cascade import CascadeExport, CascadeOptions, artifacts_of, cascade_folder, cascade_of_runs
from cxr_edge.exporting.export_folds import SHIFT_IMAGES
from cxr_edge.exporting.verify_folds import verify_folds
from cxr_edge.progress import Stage, silently, titled
from cxr_edge.reporting.card.card import update_card
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import cross_validation_named, finished_folds
from cxr_edge.runs.lock import locked
from cxr_edge.statistics.against_full import accuracy_less_full
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
        single, other = (small, full) if students is None else (full, small)
        raise OptionError(f"{single}: is not a cross-validation, unlike {other}; name two of a kind")
    if output is not None:
        raise OptionError(f"--output {output}: the cascades of folds are written into the folds; leave it out")
    return _of_folds(students, teachers, options, stage)


def _of_folds(students: Path, teachers: Path, options: CascadeOptions, stage: Stage) -> PooledCascades:
    """Write a cascade into each full fold that has none yet, and compare all with the folds' Keras models."""
    small, runs = finished_folds(students), finished_folds(teachers)
    if len(small) != len(runs):
        raise OptionError(f"{students} and {teachers} have different numbers of folds")
    pairs = list(zip(small, runs, strict=True))
    with locked(teachers):
        require_same_images(runs)
        # Before minutes of scoring.
        fits = _existing(pairs, options)
        for number, (student, run) in enumerate(pairs, start=1):
            if cascade_folder(run) not in fits:
                titled_stage = titled(stage, f"fold {number} of {len(pairs)}")
                fits[cascade_folder(run)] = _new(student, run, options, titled_stage)
        parity = verify_folds(teachers, {}, SHIFT_IMAGES, stage, cascade_folder(runs[0]).name)
        in_order = tuple(fits[cascade_folder(run)] for run in runs)
        difference = accuracy_less_full(summed([fit.test for fit in in_order]))
        return PooledCascades(fits=in_order, parity=parity, accuracy_less_full=difference)


def _new(student: Run, full: Run, options: CascadeOptions, stage: Stage) -> CascadeFit:
    try:
        return cascade_of_runs(student.folder, full.folder, options, stage=stage).fit
    except GateError as error:
        raise GateError(f"{full.folder}: {error}") from None
    finally:
        forget_models()


def _existing(pairs: Sequence[tuple[Run, Run]], options: CascadeOptions) -> dict[Path, CascadeFit]:
    """The fits of the folds' cascades that were made before. Raises OptionError if something else made them."""
    fits, others = {}, []
    for student, run in pairs:
        artifacts, folder = artifacts_of(student.folder, run.folder, options), cascade_folder(run)
        if folder.exists():
            fit = _fit_of(folder, artifacts)
            if fit is None or fit.demands != options.demands:
                others.append(str(folder))
            else:
                # A kill may have come between bundle and card.
                update_card(folder)
                fits[folder] = fit
    if others:
        raise OptionError(f"{', '.join(others)}: made from other files, or with other demands; remove them")
    return fits


def _fit_of(folder: Path, artifacts: Sequence[Artifact]) -> CascadeFit | None:
    """The fit of a bundle's cascade; None if it is not of these artifacts."""
    for cascade in listed_artifacts(folder):
        if isinstance(cascade, Cascade) and _hashes(cascade.members) == _hashes(artifacts):
            return cascade_fit_of(cascade.entry.fitted)
    return None


def _hashes(artifacts: Sequence[Artifact]) -> list[str]:
    return [artifact.sha256 for artifact in artifacts]
