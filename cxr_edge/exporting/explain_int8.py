"""Where the noise of a run's int8-ptq comes from, on any images; no artifact is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.layouts import x_ray_files
from cxr_edge.errors import DataError
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.evaluation.int8_noise import Explanation
from cxr_edge.exporting.export import Exporter, ExportOptions
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.imaging.decode import load_image
from cxr_edge.progress import Stage, silently
from cxr_edge.quantization.channel_shifts import with_shifts_on_grid
from cxr_edge.quantization.explain import explain, rows_of, sample_indices
from cxr_edge.runs import Run
from cxr_edge.runs.lock import locked


def explain_int8(run: Run, recipe: Recipe, data: Path | None, stage: Stage = silently) -> Explanation:
    """The noise of each tensor and group of a run's int8-ptq graph.

    Args:
        run: a trained run.
        recipe: determines the layers left in float, and the activations.
        data: a folder of images, labelled or not; None for the run's validation split.
        stage: shows progress.

    Raises:
        DataError: there are no images.
        ImageError: an image cannot be read.
        RunError: another process is working on the run.
    """
    exporter = Exporter(run, ExportOptions(recipe), stage)
    with locked(run.folder):
        quantized = exporter.quantized.quantized_graph(fine_tuned=False)
        equalized = exporter.quantized.equalized_graph()
    images = _validation_images(exporter) if data is None else _images_of(data, exporter)
    with stage("one at a time in int8", rows_of(quantized)) as steps:
        # With the file's channel shifts, in whole steps: unrounded ones would show noise that the file does not have.
        reference = with_shifts_on_grid(equalized, quantized.ranges)
        rows = explain(reference, quantized, images, steps.tick)
    source = "validation images" if data is None else f"images of {data}"
    return Explanation(len(images), source, exporter.split.labels, tuple(rows))


def _validation_images(exporter: Exporter) -> NDArray[np.uint8]:
    images = decoded(exporter.split, VALIDATION, exporter.image_size)
    return np.asarray(images[sample_indices(len(images))])


def _images_of(data: Path, exporter: Exporter) -> NDArray[np.uint8]:
    """A sample of a folder's images, uint8 `[N, S, S, 1]`. Raises DataError if there are none."""
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    paths = x_ray_files(data)
    if not paths:
        raise DataError(f"{data}: no images in it")
    sample = [paths[index] for index in sample_indices(len(paths))]
    return np.stack([load_image(path, exporter.image_size, exporter.split.resize) for path in sample])[..., None]
