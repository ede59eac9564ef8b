"""Evaluate an artifact, or a run's Keras model, on labelled images: what `cxr-edge evaluate` computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import Artifact, format_of
from cxr_edge.artifacts.bundle import first_listed
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.choices import OnBadImage, choice_of
from cxr_edge.data.cache import decoded
from cxr_edge.data.columns import Column, read_columns
from cxr_edge.data.decode import decode_all, refuse
from cxr_edge.data.layouts import TABLE_SUFFIX, find_data_set
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.calibration import calibration_error
from cxr_edge.evaluation.groups import grouping
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.imaging.plausibility import open_plausible
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.evaluation import (
    TEST_SPLIT,
    EvaluatedCalibration,
    Evaluation,
    evaluated_point,
    recorded_calibration_error,
)
from cxr_edge.prediction.prediction import SkippedImage
from cxr_edge.progress import Stage, silently
from cxr_edge.runs import Run, find_run
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.runtimes.loaded import joined
from cxr_edge.runtimes.selection import Doubt, warning_about_image


@dataclass(frozen=True)
class _Model:
    """The evaluated model, which maps pixels uint8 `[N, S, S, 1]` to probabilities `[N, K]`.

    `image_sizes` has S, or both sizes of a cascade, whose pixels are combined by `runtimes.loaded.joined`.
    """

    name: str
    labels: tuple[str, ...]
    image_sizes: tuple[int, ...]
    resize: str
    phantoms: bool
    score: Callable[[NDArray[np.uint8], Callable[[], None]], NDArray[np.float32]]
    artifact: Artifact | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _LabelledImages:
    """Pixels uint8 `[N, S, S, 1]`, label indices `[N]`, where they come from, and the columns to group them by."""

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    part: str
    columns: tuple[Column, ...]
    skipped: tuple[SkippedImage, ...] = ()
    warnings: tuple[str, ...] = ()


def evaluate(
    artifact: Path | None,
    data: Path | None,
    run_folder: Path | None,
    on_bad_image: str = "fail",
    stage: Stage = silently,
    by: Sequence[str] = (),
) -> Evaluation:
    """Metrics of a model on labelled images.

    Args:
        artifact: a file, the bundle of a cascade, or None for the Keras model of the run (TensorFlow).
        data: a data set, of which only the test part is used if it has parts; None for the test split of the run.
        run_folder: the run; None for the artifact's, or else the latest; ignored with both `artifact` and `data`.
        on_bad_image: `fail`, or `skip`, which lists bad images under `skipped`; a run's test split may have none.
        stage: opened as each stage begins.
        by: columns of the table that lists the images, or DICOM tags, whose groups are evaluated too.

    Raises:
        DataError, RunError, ArtifactError, OptionError, MissingDependencyError.
    """
    skip = choice_of(OnBadImage, on_bad_image, "--on-bad-image") is OnBadImage.SKIP
    run = _run_of(artifact, run_folder) if data is None or artifact is None else None
    if artifact is not None:
        model = _artifact_model(artifact, run)
    else:
        assert run is not None
        model = _keras_model(run)
    if data is None:
        assert run is not None
        images = _test_split(run, model, by, stage)
    else:
        images = _images_of(data, model, skip, by, stage)
    with stage("classifying", len(images.pixels)) as steps:
        probabilities = model.score(images.pixels, steps.tick)
    evaluated = model.artifact
    return Evaluation(
        model=model.name,
        part=images.part,
        data=TrainingData.PHANTOMS if data is None and model.phantoms else TrainingData.IMAGES,
        metrics=classification_metrics(images.targets, probabilities, model.labels),
        calibration_error=EvaluatedCalibration(
            calibration_error(probabilities, images.targets),
            None if evaluated is None else recorded_calibration_error(evaluated),
        ),
        operating_point=None if evaluated is None else evaluated_point(evaluated, probabilities, images.targets),
        artifact_sha256=None if evaluated is None else evaluated.sha256,
        groupings=tuple(
            grouping(column.name, column.values, images.targets, probabilities, model.labels)
            for column in images.columns
        ),
        skipped=images.skipped,
        warnings=(*model.warnings, *images.warnings),
    )


def _run_of(artifact: Path | None, run_folder: Path | None) -> Run:
    """The run in the folder; without a folder, the run that the artifact is in, or the latest."""
    if artifact is not None and run_folder is None:
        bundle = artifact if artifact.is_dir() else artifact.parent
        folder = bundle.resolve().parent
        if Run(folder).config_file.is_file():
            return find_run(folder)
    return find_run(run_folder)


def _artifact_model(path: Path, run: Run | None) -> _Model:
    """An artifact, on the preferred runtime of its format; with the run if it is evaluated on that run's test split.

    For a cascade, the path is its bundle.
    """
    kind = first_listed(path).format if path.is_dir() else format_of(path)
    classifier = Classifier.open(path, runtimes_for(kind)[0].option)
    artifact = classifier.artifact
    if run is not None and run.config().data_sha256 != artifact.metadata.training.data_sha256:
        raise ArtifactError(
            f"{path}: was not trained on the split of {run.folder}, and may have seen its test images; "
            "name its own run with --run, or images with --data"
        )
    return _Model(
        name=artifact.name,
        labels=artifact.labels,
        image_sizes=tuple(file.image_size for file in artifact.members),
        resize=artifact.resize,
        phantoms=artifact.metadata.training.phantoms,
        score=classifier.score,
        artifact=artifact,
        warnings=classifier.warnings,
    )


def _keras_model(run: Run) -> _Model:
    """It has no operating point: that applies to the artifacts' probabilities, which include the temperature."""
    from cxr_edge.training.keras_model import KerasSession

    config, session = run.config(), KerasSession(run)
    return _Model(
        name="Keras float32",
        labels=config.labels,
        image_sizes=(config.options.image_size,),
        resize=config.options.resize,
        phantoms=run.phantoms,
        score=lambda pixels, on_image: score_images(session, pixels, on_image),
        artifact=None,
        warnings=(f"Keras float32: {Doubt.PHANTOMS}",) if run.phantoms else (),
    )


def _test_split(run: Run, model: _Model, by: Sequence[str], stage: Stage) -> _LabelledImages:
    split = run_split(run)
    data = run.config().options.data
    table = Path(data) if data is not None and Path(data).suffix.lower() == TABLE_SUFFIX else None
    columns = read_columns(by, split.root, table, [item.path for item in split.part("test")])
    with stage("decoding", len(model.image_sizes) * len(split.part("test"))) as steps:
        pixels = joined([np.asarray(decoded(split, "test", size, steps.tick)) for size in model.image_sizes])
    return _LabelledImages(pixels, split.targets("test"), TEST_SPLIT, columns)


def _images_of(data: Path, model: _Model, skip: bool, by: Sequence[str], stage: Stage) -> _LabelledImages:
    """The images of a data set; with `skip`, unreadable ones are listed separately."""
    data_set, part = find_data_set(data, model.labels), str(data)
    if "test" in data_set.parts():
        # The other parts may have been trained on.
        data_set = data_set.without({index for index, item in enumerate(data_set.items) if item.part != "test"})
        part += ", its test part"
    columns = read_columns(by, data_set.root, data_set.table, [item.path for item in data_set.items])
    paths = [data_set.root / item.path for item in data_set.items]
    pictures = [np.empty((len(paths), size, size, 1), dtype=np.uint8) for size in model.image_sizes]
    warned: dict[str, list[Path]] = {}

    def read(path: Path) -> Image.Image:
        examined = open_plausible(path)
        warning = None if model.artifact is None else warning_about_image(model.artifact, path)
        for line in (*examined.warnings, *([warning] if warning else [])):
            warned.setdefault(line, []).append(path)
        return examined.grey

    with stage("decoding", len(pictures) * len(paths)) as steps:
        for size, pixels in zip(model.image_sizes, pictures, strict=True):
            # Every size gives the same warnings.
            warned.clear()
            bad = decode_all(paths, size, pixels, steps.tick, model.resize, read)
    if not skip or len(bad) == len(paths):
        refuse(bad, len(paths), "repair or remove them, or leave them out with --on-bad-image skip")
    targets = np.array([item.label for item in data_set.items], dtype=np.int64)
    good = [index for index in range(len(paths)) if index not in bad]
    return _LabelledImages(
        joined(pictures)[good],
        targets[good],
        part,
        tuple(column.at(good) for column in columns),
        tuple(SkippedImage(data_set.items[index].path, reason) for index, reason in bad.items()),
        tuple(
            f"{len(affected)} of {len(paths)} images, such as {min(affected)}: {line}"
            for line, affected in sorted(warned.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        ),
    )
