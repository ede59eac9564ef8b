"""Evaluate an artifact, or a run's Keras model, on labelled images: what `cxr-edge evaluate` computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from cxr_edge.data.layouts import PARTS, TABLE_SUFFIX, find_data_set
from cxr_edge.data.split import run_split, split_items
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.calibration import calibration_error
from cxr_edge.evaluation.groups import grouping
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.files import sha256_of
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
    """Pixels uint8 `[N, S, S, 1]`, label indices `[N]`, where they come from, and the columns to group them by.

    `in_split` counts those that are in each part of the split that the model was made with; None if that is not known.
    """

    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    part: str
    columns: tuple[Column, ...]
    skipped: tuple[SkippedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    in_split: dict[str, int] | None = None


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
        run_folder: the run; None for the artifact's, or else the latest. With both `artifact` and `data`, it only
            serves to say which images the model was made with.
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
        images = _images_of(data, model, _training_images(artifact, run_folder, model, run), skip, by, stage)
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
        in_split=images.in_split,
        skipped=images.skipped,
        warnings=(*model.warnings, *images.warnings),
    )


def _run_of(artifact: Path | None, run_folder: Path | None) -> Run:
    """The run in the folder; without a folder, the run that the artifact is in, or the latest."""
    own = None if artifact is None or run_folder is not None else _own_run(artifact)
    return own or find_run(run_folder)


def _own_run(artifact: Path) -> Run | None:
    """The run whose folder holds the artifact's bundle."""
    bundle = artifact if artifact.is_dir() else artifact.parent
    folder = bundle.resolve().parent
    return find_run(folder) if Run(folder).config_file.is_file() else None


def _training_images(
    artifact: Path | None, run_folder: Path | None, model: _Model, run: Run | None
) -> dict[str, str] | None:
    """The part of the split of each image that the model was made with, by its SHA-256; None if no run tells."""
    if artifact is not None:
        run = _own_run(artifact) if run_folder is None else find_run(run_folder)
    # A run that was copied to a device may lack it.
    if run is None or not run.split_file.is_file():
        return None
    config = run.config()
    if model.artifact is not None and config.data_sha256 != model.artifact.metadata.training.data_sha256:
        return None
    return {item.sha256: item.part for item in split_items(run.split_file, config.labels)}


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
    # What was resized in another way would be other images to an artifact of another run on the same split.
    split = replace(run_split(run), resize=model.resize)
    data = run.config().options.data
    table = Path(data) if data is not None and Path(data).suffix.lower() == TABLE_SUFFIX else None
    columns = read_columns(by, split.root, table, [item.path for item in split.part("test")])
    with stage("decoding", len(model.image_sizes) * len(split.part("test"))) as steps:
        pixels = joined([np.asarray(decoded(split, "test", size, steps.tick)) for size in model.image_sizes])
    return _LabelledImages(pixels, split.targets("test"), TEST_SPLIT, columns)


def _images_of(
    data: Path, model: _Model, trained_on: dict[str, str] | None, skip: bool, by: Sequence[str], stage: Stage
) -> _LabelledImages:
    """The images of a data set; with `skip`, unreadable ones are listed separately.

    `trained_on` is the part of each image that the model was made with, by its SHA-256.
    """
    data_set = find_data_set(data, model.labels)
    # A relative path may have no name.
    part = str(data if data.name not in ("", "..") else data.resolve())
    if data_set.parts():
        part += ", its test part"
    data_set = data_set.test_part()
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
    in_split = None
    if trained_on is not None:
        counts = Counter(trained_on.get(sha256_of(paths[index])) for index in good)
        in_split = {name: counts[name] for name in PARTS}
    return _LabelledImages(
        joined(pictures)[good],
        targets[good],
        part,
        tuple(column.at(good) for column in columns),
        tuple(SkippedImage(data_set.items[index].path, reason) for index, reason in bad.items()),
        (
            *_known_to_model(in_split or {}, len(good)),
            *(
                f"{len(affected)} of {len(paths)} images, such as {min(affected)}: {line}"
                for line, affected in sorted(warned.items(), key=lambda pair: (-len(pair[1]), pair[0]))
            ),
        ),
        in_split,
    )


def _known_to_model(in_split: dict[str, int], count: int) -> Iterator[str]:
    """A warning about images in the parts that are not for testing."""
    seen = {part: number for part, number in in_split.items() if number and part != "test"}
    if seen:
        parts = ", ".join(f"{part} {number}" for part, number in seen.items())
        yield (
            f"{sum(seen.values())} of {count} images are among those that the model was made with ({parts}): figures "
            "on them say little about other images"
        )
