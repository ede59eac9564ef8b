"""`cxr-edge evaluate`: metrics of one artifact, or of a run's Keras model, on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_checked_artifact
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.decode import decode_all, refuse
from cxr_edge.data.layouts import find_data_set
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError, OptionError
from cxr_edge.evaluation.calibration import calibration_error
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.evaluation.operating_figures import operating_figures
from cxr_edge.evaluation.operating_record import operating_record_of
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.machine import usable_cores
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run, find_run
from cxr_edge.runtimes.base import Session, runtimes_for
from cxr_edge.runtimes.selection import warning_about, warning_about_image


def _test_split(run: Run, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    split = run_split(run)
    with progress_bar("decoding", len(split.part("test"))) as bar:
        return np.asarray(decoded(split, "test", size, bar.tick)), split.targets("test")


def _labelled_images(
    data: Path, labels: tuple[str, ...], size: int, resize: str, skip: bool, artifact: Artifact | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], str, list[dict[str, str]]]:
    """Pixels, label indices, what they are of, and the images that were left out, with the reasons."""
    found, part = find_data_set(data, labels), str(data)
    if "test" in found.parts():
        # The others may have been trained on.
        found = found.without({index for index, item in enumerate(found.items) if item.part != "test"})
        part += ", its test part"
    images = np.empty((len(found.items), size, size, 1), dtype=np.uint8)
    with progress_bar("decoding", len(images)) as bar:
        bad = decode_all([found.root / item.path for item in found.items], size, images, bar.tick, resize)
    if not skip or len(bad) == len(images):
        refuse(bad, len(images), "mend or remove them, or leave them out with --on-bad-image skip")
    targets = np.array([item.label for item in found.items], dtype=np.int64)
    good = [index for index in range(len(images)) if index not in bad]
    if artifact is not None:
        paths = [found.root / found.items[index].path for index in good]
        warned = [(path, line) for path in paths if (line := warning_about_image(artifact, path))]
        if warned:
            show(f"warning: {len(warned)} of {len(good)} images, such as {warned[0][0]}: {warned[0][1]}")
    skipped = [{"path": found.items[index].path, "reason": reason} for index, reason in bad.items()]
    return images[good], targets[good], part, skipped


def evaluate(
    artifact: Path | None, data: Path | None, run_folder: Path | None, on_bad_image: str = "fail"
) -> dict[str, Any]:
    """Metrics as JSON-ready figures, with `model` and `part` naming what was evaluated on what.

    Args:
        artifact: a file, or None for the Keras model of the run (TensorFlow).
        data: a data set, of which the test part where it comes in parts; None for the test split of the run.
        run_folder: the run, or None for the latest; not looked at when both others are given.
        on_bad_image: `fail`, or `skip`, which lists them under `skipped`; of a run's test split none may be bad.

    Raises:
        DataError, RunError, ArtifactError, OptionError, MissingDependencyError.
    """
    if on_bad_image not in ("skip", "fail"):
        raise OptionError(f"--on-bad-image {on_bad_image}: choose one of skip, fail")
    run = None
    if data is None or artifact is None:
        own = artifact.resolve().parent.parent if artifact is not None else None
        run = find_run(own if run_folder is None and own is not None and Run(own).config_file.is_file() else run_folder)
    session: Session
    read = None
    if artifact is not None:
        read = read_checked_artifact(artifact)
        if warning := warning_about(read):
            show(f"warning: {warning}")
        labels, size, model = read.labels, read.image_size, read.name
        resize: str = read.resize
        if run is not None and run.config().data_sha256 != read.metadata.training.data_sha256:
            raise ArtifactError(
                f"{artifact}: was trained on another split than that of {run.folder}, and may know its test images; "
                "name its own run with --run, or images with --data"
            )
        phantoms = data is None and read.metadata.training.phantoms
        session = runtimes_for(read.format)[0].load(artifact, usable_cores())
    else:
        assert run is not None
        from cxr_edge.training.keras_model import KerasSession

        # It has no operating point: that holds for probabilities with the temperature in them, the artifacts'.
        config = run.config()
        labels, size, model = config.labels, config.options.image_size, "Keras float32"
        resize = config.options.resize
        session = KerasSession(run)
        phantoms = data is None and run.phantoms
    skipped: list[dict[str, str]] = []
    if data is None:
        assert run is not None
        (images, targets), part = _test_split(run, size), "test split"
    else:
        images, targets, part, skipped = _labelled_images(data, labels, size, resize, on_bad_image == "skip", read)
    with progress_bar("classifying", len(images)) as bar:
        probabilities = score_images(session, images, bar.tick)
    return {
        "model": model,
        "part": part,
        "skipped": skipped,
        "data": str(TrainingData.PHANTOMS if phantoms else TrainingData.IMAGES),
        **classification_metrics(targets, probabilities, labels).to_json(),
        "calibration_error": {
            **calibration_error(probabilities, targets).to_json(),
            "on_its_test_split": None if read is None else _recorded_calibration_error(read),
        },
        "operating_point": None if read is None else _operating(read, probabilities, targets),
    }


def _recorded_calibration_error(artifact: Artifact) -> float | None:
    """On the test split at export; None where none was recorded."""
    recorded: dict[str, float | None] = (artifact.parity or {}).get("calibration_error", {})
    return recorded.get("artifact")


def _operating(
    artifact: Artifact, probabilities: NDArray[np.float32], targets: NDArray[np.int64]
) -> dict[str, Any] | None:
    """The artifact's operating point as its metadata have it, with what it does here as `figures`."""
    value = artifact.metadata.operating_point
    point, record = operating_point_of(value), operating_record_of(value)
    if point is None:
        return None
    figures = operating_figures(point, probabilities, targets, artifact.labels)
    return {**(record or point).to_json(), "figures": figures.to_json()}
