"""The workstation's commands as functions, with their options as parameters. Heavy imports happen on call.

The functions return what the commands show, raise the package's errors, and print nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_edge.progress import Stage, silently

if TYPE_CHECKING:
    from cxr_edge.auditing.record import Audit
    from cxr_edge.evaluation.pooled_parity import PooledCascades, PooledParity
    from cxr_edge.evaluation.replay import ReplayResult
    from cxr_edge.evaluation.run_metrics import CrossValidation
    from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
    from cxr_edge.exporting.cascade import CascadeExport
    from cxr_edge.exporting.export import Exported
    from cxr_edge.runs.progress import Progress
    from cxr_edge.runtimes.selection import Selection
    from cxr_edge.training.result import TrainingResult

FilePath = str | PathLike[str]

#: The most images that `verify` compares on: of the training part, and of each part under each shift.
TRAIN_IMAGES, SHIFT_IMAGES = 300, 60


def open_bundle(folder: FilePath) -> Selection:
    """The artifacts that are present in a bundle, each checked against the manifest.

    Raises:
        ArtifactError: no bundle, none of its artifacts is present, or a file differs from its entry in the manifest.
    """
    from cxr_edge.runtimes.selection import artifacts_of_bundle

    return artifacts_of_bundle(Path(folder))


def train(
    *,
    data: FilePath | None = None,
    run: FilePath | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    image_size: int | None = None,
    resize: str | None = None,
    weights: str | None = None,
    epochs: int | None = None,
    head_epochs: int | None = None,
    frozen_blocks: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    precision: str | None = None,
    strategy: str | None = None,
    seed: int | None = None,
    phantoms: int | None = None,
    on_bad_image: str | None = None,
    include: Sequence[str] = (),
    hold_out_source: str | None = None,
    folds: int | None = None,
    fold: int | None = None,
    tensorboard: bool = False,
    mlflow: bool = False,
) -> TrainingResult | CrossValidation:
    """Train Xception on a folder of chest X-rays, or on phantoms; a cross-validation gives the figures over all folds.

    Args:
        progress: receives reports on progress; None for none.

    The other parameters are the options of `cxr-edge train`, with the same defaults.

    Raises:
        OptionError: an option is unknown, out of range, or conflicts with another.
        DataError: images cannot be used, or are too few.
        RunError: the folder holds another run, or none to resume.
        WeightsError: the weights cannot be downloaded or do not fit.
        GateError: students by latency are resumed, and the machine is too noisy to measure it.
        MissingDependencyError: the extra `train` is not installed.
    """
    stated = locals()
    from cxr_edge.runs import latest_started, new_run
    from cxr_edge.runs.progress import SILENT
    from cxr_edge.shrinking.jobs import train_or_resume
    from cxr_edge.train_options import require_shared_run, stated_options

    options = stated_options(stated)
    require_shared_run(options, _path(run), resume)
    folder = latest_started() if resume and run is None else new_run(_path(run)).folder
    return train_or_resume(folder, options, resume, progress or SILENT)


def shrink(
    teacher: FilePath | None = None,
    *,
    run: FilePath | None = None,
    macs: float | None = None,
    latency: float | None = None,
    image_size: int | None = None,
    unlabelled: Sequence[FilePath] = (),
    epochs: int = 20,
    learning_rate: float = 5e-4,
    progress: Progress | None = None,
) -> TrainingResult | CrossValidation:
    """Distil a trained run into a smaller model, with fewer blocks and channels; or each fold of a cross-validation.

    Args:
        teacher: a trained run, or the folder of a finished cross-validation, for the figures of its students over all
            folds; None for the latest run.
        progress: receives reports on progress; None for none.

    The other parameters are the options of `cxr-edge shrink`, with the same defaults. `train` with `resume` resumes a
    student.

    Returns:
        The student's run, metrics and history; for a cross-validation, the figures over all folds.

    Raises:
        OptionError: an option is out of range, or no network is small or fast enough.
        GateError: the machine is too noisy to measure latency.
        DataError: images cannot be decoded, or changed since the teacher was trained.
        RunError: the folder holds another run, or the teacher is not finished.
        MissingDependencyError: the extra `train` is not installed.
    """
    stated = locals()
    from cxr_edge.runs import find_run, new_run
    from cxr_edge.runs.cross_validation import cross_validation_named
    from cxr_edge.runs.progress import SILENT
    from cxr_edge.shrink_options import shrink_options
    from cxr_edge.shrinking.folds import shrink_folds
    from cxr_edge.shrinking.shrink import shrink as make_student

    student, options = new_run(_path(run)), shrink_options(stated)
    if (teachers := cross_validation_named(_path(teacher))) is not None:
        return shrink_folds(teachers, student.folder, options, progress or SILENT)
    return make_student(find_run(_path(teacher)), student, options, progress or SILENT)


def export(
    *,
    run: FilePath | None = None,
    recipe: str | None = None,
    format: Sequence[str] = (),
    quantize: Sequence[str] = (),
    keep_float: Sequence[str] = (),
    heatmap: bool = True,
    qat_steps: int | None = None,
    qat_learning_rate: float | None = None,
    sensitive_class: str | None = None,
    sensitivity: float | None = None,
    folds: FilePath | None = None,
    max_drop: float | None = None,
    max_disagreement: float | None = None,
    min_agreement: float | None = None,
    max_accuracy_drop: float | None = None,
    max_sensitivity_drop: float | None = None,
    min_shifted_agreement: float | None = None,
    max_class_loss: float | None = None,
    stage: Stage = silently,
) -> Exported | PooledParity:
    """Export a run's artifacts to its bundle. A failed `verdict` of an artifact does not raise.

    Args:
        run: a run; or a cross-validation, whose folds are all exported, and whose parity over all folds is returned.
        stage: opened as each stage begins.

    The other parameters are the options of `cxr-edge export`, with the same defaults.

    Raises:
        OptionError: an option is unknown, out of range, or conflicts with another.
        RunError: there is no such run, or its training is not finished.
        MissingDependencyError: the extra `train` is not installed.
        GateError: an artifact would be int8 in name only, or `max_drop` or `max_disagreement` cannot be met.
    """
    from cxr_edge.evaluation.accuracy_control import AccuracyDemand
    from cxr_edge.evaluation.demands import demanded
    from cxr_edge.exporting.recipe_file import recipe_of_options

    gate = demanded(
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
        max_sensitivity_drop=max_sensitivity_drop,
        min_shifted_agreement=min_shifted_agreement,
        max_class_loss=max_class_loss,
    )
    accuracy = AccuracyDemand(max_drop, max_disagreement)
    parsed = recipe_of_options(recipe, list(format), list(quantize), list(keep_float), heatmap, gate)
    # TensorFlow takes seconds to import, so only after the options are checked.
    from cxr_edge.exporting.export import Exporter, ExportOptions
    from cxr_edge.runs import find_run
    from cxr_edge.runs.cross_validation import cross_validation_named

    options = ExportOptions(parsed, qat_steps, qat_learning_rate, sensitive_class, sensitivity, _path(folds), accuracy)
    if (cross_validation := cross_validation_named(_path(run))) is not None:
        from cxr_edge.exporting.export_folds import export_folds

        return export_folds(cross_validation, options, stage)
    return Exporter(find_run(_path(run)), options, stage).export()


def cascade(
    *,
    small: FilePath,
    full: FilePath,
    quantize: str = "int8",
    format: str = "tflite",
    min_agreement: float = 0.995,
    min_shifted_agreement: float = 0.9,
    output: FilePath | None = None,
    stage: Stage = silently,
) -> CascadeExport | PooledCascades:
    """Write a bundle in which a small model answers, or a full one if the small one is unsure.

    Args:
        small: an exported run, one of its bundles, or the folder of exported students of a cross-validation.
        full: likewise; the folder of the cross-validation for such students.
        stage: opened as each stage begins.

    The other parameters are the options of `cxr-edge cascade`, with the same defaults.

    Returns:
        The cascade, which `Classifier.open` opens as a bundle; for folds, how each one's threshold was fitted, and the
        parity over all of them. A failed `verdict` does not raise.

    Raises:
        ArtifactError: a bundle lacks the artifact, or the two are incompatible.
        GateError: no threshold meets the demands.
        OptionError, RunError: an option is unknown or out of range; a run is unfinished, or the new bundle exists.
        MissingDependencyError: the extra `train` is not installed.
    """
    from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
    from cxr_edge.choices import choice_of
    from cxr_edge.exporting.cascade import CascadeOptions
    from cxr_edge.exporting.cascade_folds import cascade_of

    options = CascadeOptions(
        choice_of(Quantization, quantize, "--quantize"),
        choice_of(ArtifactFormat, format, "--format"),
        min_agreement,
        min_shifted_agreement,
    )
    return cascade_of(Path(small), Path(full), options, _path(output), stage)


def verify(
    *,
    artifact: Sequence[FilePath] = (),
    bundle: FilePath | None = None,
    run: FilePath | None = None,
    data: FilePath | None = None,
    train_images: int | None = None,
    shift_images: int | None = None,
    min_agreement: float | None = None,
    max_accuracy_drop: float | None = None,
    max_sensitivity_drop: float | None = None,
    min_shifted_agreement: float | None = None,
    max_class_loss: float | None = None,
    replay: bool = False,
    runtime: Sequence[str] = (),
    threads: int | None = None,
    stage: Stage = silently,
) -> Sequence[VerifiedArtifact | ReplayResult] | PooledParity:
    """Compare each artifact present in a bundle with the Keras model, or with the outputs recorded at export.

    Args:
        artifact: single files, for `replay`.
        bundle: a bundle; for a cross-validation, the name of the bundle in each fold.
        run: a run, or a cross-validation, whose exported folds are judged together.
        train_images: at most this many training images, at least 1; None for 300.
        shift_images: at most this many images under each shift, at least 1; None for 60.
        replay: compare with the recorded outputs, which needs neither TensorFlow nor the run.
        stage: opened as each stage of a comparison with Keras begins.

    The other parameters are the options of `cxr-edge verify`, with the same defaults.

    Returns:
        A result per artifact; for a replay, per artifact and runtime; for a cross-validation, the pooled results and
        those by fold. A failed `verdict` does not raise.

    Raises:
        ArtifactError: there is no such bundle, or it was tampered with.
        OptionError, RunError: an option is out of range or conflicts with another; the bundle's run is unfinished.
    """
    from cxr_edge.errors import OptionError
    from cxr_edge.evaluation.demands import demanded

    demands = demanded(
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
        max_sensitivity_drop=max_sensitivity_drop,
        min_shifted_agreement=min_shifted_agreement,
        max_class_loss=max_class_loss,
    )
    if replay:
        if demands or any(option is not None for option in (data, train_images, shift_images)):
            raise OptionError("demands, data and numbers of images need the Keras model; leave them out of a replay")
        return _replayed([Path(path) for path in artifact], _path(bundle), _path(run), runtime, threads)
    if runtime or artifact or threads is not None:
        raise OptionError(
            "artifact, runtime and threads need replay=True; without it, a bundle runs on preferred runtimes"
        )
    return _compared_with_keras(_path(bundle), _path(run), _path(data), demands, train_images, shift_images, stage)


def _compared_with_keras(
    bundle: Path | None,
    run: Path | None,
    data: Path | None,
    demands: dict[str, float],
    train_images: int | None,
    shift_images: int | None,
    stage: Stage,
) -> Sequence[VerifiedArtifact] | PooledParity:
    from cxr_edge.errors import OptionError
    from cxr_edge.runs.cross_validation import cross_validation_named

    for option, images in (("train_images", train_images), ("shift_images", shift_images)):
        if images is not None and images < 1:
            raise OptionError(f"{option} {images}: must be at least 1")
    folder = cross_validation_named(run)
    if folder is not None and any(option is not None for option in (data, train_images)):
        raise OptionError(f"{folder} holds folds: no data or train_images go with it; name the run of one fold")
    # TensorFlow takes seconds to import, so only after the options are checked.
    from cxr_edge.evaluation.conditions import Scope
    from cxr_edge.exporting.verify import verify_bundle
    from cxr_edge.exporting.verify_folds import verify_folds
    from cxr_edge.runtimes.selection import find_bundle

    if folder is not None:
        name = None if bundle is None else bundle.name
        return verify_folds(folder, demands, shift_images or SHIFT_IMAGES, stage, name)
    scope = Scope.of_verify(train_images or TRAIN_IMAGES, shift_images or SHIFT_IMAGES)
    return verify_bundle(find_bundle(bundle, run), demands, scope, stage, data).results


def _replayed(
    artifacts: list[Path], bundle: Path | None, run: Path | None, runtimes: Sequence[str], threads: int | None
) -> Sequence[ReplayResult]:
    from cxr_edge.evaluation.replay import replay
    from cxr_edge.runtimes.base import runtime_named
    from cxr_edge.runtimes.selection import select

    selection = select(artifacts, bundle, run)
    return replay(selection, [runtime_named(name) for name in runtimes] or None, threads).results


def audit(
    folder: FilePath | None = None,
    *,
    run: FilePath | None = None,
    stage: Callable[[str], AbstractContextManager[Any]] = lambda title: nullcontext(),
    on_image: Callable[[], None] | None = None,
) -> Audit:
    """Look for problems in a data set: unreadable files, copies, conflicting labels, mixed-up patients, shortcuts.

    Args:
        folder: what `cxr-edge train --data` takes, or a folder with a `labels.csv`; None for the data of the run.
        run: its `split.csv` names the parts of the split.
        stage: opened around each stage, with its title.
        on_image: called after each image.

    Raises:
        DataError: there is no such folder, there are no images, or a table cannot be read.
        RunError: there is no such run.
        MissingDependencyError: the extra `train` is not installed.
    """
    from cxr_edge.auditing.audit import audit as audit_images
    from cxr_edge.auditing.folders import find_images
    from cxr_edge.auditing.measure import measure_all
    from cxr_edge.runs import run_named

    collection = find_images(_path(folder), None if run is None else run_named(Path(run)))
    measured = measure_all([collection.root / image.path for image in collection.images], on_image)
    return audit_images(collection, measured, stage)


def _path(value: FilePath | None) -> Path | None:
    return None if value is None else Path(value)
