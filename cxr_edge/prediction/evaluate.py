"""Evaluate an artifact, or a run's Keras model, on labelled images: what `cxr-edge evaluate` computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import Artifact, format_of
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
from cxr_edge.runtimes.selection import Doubt, warning_about_image


@dataclass(frozen=True)
class _Model:
    """The evaluated model, which maps pixels uint8 `[N, S, S, 1]` to probabilities `[N, K]`."""

    name: str
    labels: tuple[str, ...]
    image_size: int
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
        artifact: a file, or None for the Keras model of the run (TensorFlow).
        data: a data set, or its test part if it comes in parts; None for the test split of the run.
        run_folder: the run, or None for the latest; ignored if both others are given.
        on_bad_image: `fail`, or `skip`, which lists bad images under `skipped`; a run's test split may have none.
        stage: opened as each stage begins.
        by: columns of the table that lists the images, or DICOM tags, whose groups are evaluated too.

    Raises:
        DataError, RunError, ArtifactError, OptionError, MissingDependencyError.
    """
    skip = choice_of(OnBadImage, on_bad_image, "--on-bad-image") is OnBadImage.SKIP
    run = None
    if data is None or artifact is None:
        own = artifact.resolve().parent.parent if artifact is not None else None
        run = find_run(own if run_folder is None and own is not None and Run(own).config_file.is_file() else run_folder)
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
    read = model.artifact
    return Evaluation(
        model=model.name,
        part=images.part,
        data=TrainingData.PHANTOMS if data is None and model.phantoms else TrainingData.IMAGES,
        metrics=classification_metrics(images.targets, probabilities, model.labels),
        calibration_error=EvaluatedCalibration(
            calibration_error(probabilities, images.targets),
            None if read is None else recorded_calibration_error(read),
        ),
        operating_point=None if read is None else evaluated_point(read, probabilities, images.targets),
        artifact_sha256=None if read is None else read.sha256,
        groupings=tuple(
            grouping(column.name, column.values, images.targets, probabilities, model.labels)
            for column in images.columns
        ),
        skipped=images.skipped,
        warnings=(*model.warnings, *images.warnings),
    )


def _artifact_model(path: Path, run: Run | None) -> _Model:
    """An artifact, on the preferred runtime of its format; with the run if it is evaluated on that run's test split."""
    classifier = Classifier.open(path, runtimes_for(format_of(path))[0].option)
    artifact = classifier.artifact
    if run is not None and run.config().data_sha256 != artifact.metadata.training.data_sha256:
        raise ArtifactError(
            f"{path}: was trained on another split than that of {run.folder}, and may have seen its test images; "
            "name its own run with --run, or images with --data"
        )
    return _Model(
        name=artifact.name,
        labels=artifact.labels,
        image_size=artifact.image_size,
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
        image_size=config.options.image_size,
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
    with stage("decoding", len(split.part("test"))) as steps:
        pixels = np.asarray(decoded(split, "test", model.image_size, steps.tick))
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
    pixels = np.empty((len(paths), model.image_size, model.image_size, 1), dtype=np.uint8)
    warned: dict[str, list[Path]] = {}

    def read(path: Path) -> Image.Image:
        examined = open_plausible(path)
        otherwise = None if model.artifact is None else warning_about_image(model.artifact, path)
        for line in (*examined.warnings, *([otherwise] if otherwise else [])):
            warned.setdefault(line, []).append(path)
        return examined.grey

    with stage("decoding", len(paths)) as steps:
        bad = decode_all(paths, model.image_size, pixels, steps.tick, model.resize, read)
    if not skip or len(bad) == len(paths):
        refuse(bad, len(paths), "repair or remove them, or leave them out with --on-bad-image skip")
    targets = np.array([item.label for item in data_set.items], dtype=np.int64)
    good = [index for index in range(len(paths)) if index not in bad]
    return _LabelledImages(
        pixels[good],
        targets[good],
        part,
        tuple(column.at(good) for column in columns),
        tuple(SkippedImage(data_set.items[index].path, reason) for index, reason in bad.items()),
        tuple(
            f"{len(of_line)} of {len(paths)} images, such as {min(of_line)}: {line}"
            for line, of_line in sorted(warned.items(), key=lambda pair: (-len(pair[1]), pair[0]))
        ),
    )
