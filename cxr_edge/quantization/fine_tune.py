"""Quantization-aware fine-tuning, where calibration alone is not close enough to the float model.

It has two halves: channel scales with ranges, then ranges and biases.

While the channel scales are learned, kernels are rounded to nearest at each step. Then they are rounded according to
their inputs, as for int8-ptq, and no longer change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.progress import Stage
from cxr_edge.quantization.calibrate import calibration_batch, choose_ranges, histogram_of
from cxr_edge.quantization.channel_scales import with_channel_scales
from cxr_edge.quantization.graph import Graph, quantized_tensors, with_heatmap
from cxr_edge.quantization.judge import Check, Judge
from cxr_edge.quantization.learn import LearningOptions, learn
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.reproducible import as_traced
from cxr_edge.quantization.rounding import ROUNDING_IMAGES, round_kernels
from cxr_edge.quantization.student import RangeStudent, ScaleStudent
from cxr_edge.quantization.teacher import Teacher
from cxr_edge.training.batches import Batches

#: Signal-to-noise ratio of the calibrated logits, in dB, both on validation images as they are and under shift, from
#: which a graph is not fine-tuned. On 402 validation images, 300 steps took two models at 80 px from 32.6 and 33.9 dB
#: to 32.3 and 34.3 (under shift, 29.7 and 28.9 to 29.9 and 29.3), the second with zero points of 0 from 30.0 to 32.1
#: (27.7 to 28.1); calibration kept the class of every unshifted image. A student with 24 dB gained 7, by earlier
#: versions.
CLOSE_DB = 27.0


@dataclass(frozen=True)
class Material:
    """The graphs and images to learn from.

    Args:
        graph: in float, with its channels equalized.
        calibrated: the int8 graph made from it, with a range for each tensor, the heat map's among them.
        calibration_images: the representative data set, uint8 `[N, S, S, 1]`.
        batches: training images; their labels are not used.
        validation: uint8 `[N, S, S, 1]`, on which the best check is chosen.
        symmetric: whether every zero point is 0.
    """

    graph: Graph
    calibrated: QuantizedGraph
    calibration_images: NDArray[np.uint8]
    batches: Batches
    validation: NDArray[np.uint8]
    symmetric: bool = False


def fine_tune(
    material: Material, options: LearningOptions, key: Mapping[str, Any], folder: Path, progress: Stage
) -> tuple[QuantizedGraph, list[Check]]:
    """The int8 graph closest to the float one, and all checks; the first check, of step 0, is of the calibrated graph.

    Args:
        material: the graphs and images to learn from.
        options: how to learn, and whether only if the calibrated graph is below `CLOSE_DB`.
        key: identifies the model and the options, JSON-ready.
        folder: for checkpoints; an interrupted fine-tuning is resumed from there.
        progress: shows progress.

    Raises:
        RunError: a checkpoint is damaged, or the learning diverged.
    """
    teacher = Teacher(material.graph)
    with progress("checking the calibration", None), as_traced():
        judge = Judge(teacher, material.validation)
        calibrated = judge(RangeStudent(material.calibrated, material.symmetric), 0)
    if options.only_if_needed and calibrated.closeness_db >= CLOSE_DB:
        return material.calibrated, [calibrated]
    half = options.steps // 2
    with progress("fine-tuning int8: channel scales", half) as bar:
        student = ScaleStudent(material.graph, material.calibrated.ranges, material.symmetric)
        scaled, _ = learn(
            student, teacher, material.batches, judge, range(half), options.learning_rate, key, folder / "scales", bar
        )  # fmt: skip
    start = _rounded(material, scaled, progress)
    teacher = Teacher(with_channel_scales(material.graph, scaled.scales))
    with progress("fine-tuning int8: ranges and biases", options.steps - half) as bar:
        return learn(
            RangeStudent(start, material.symmetric), teacher, material.batches, judge, range(half, options.steps),
            options.learning_rate, key, folder / "ranges", bar, (calibrated, material.calibrated),
        )  # fmt: skip


def _rounded(material: Material, scaled: QuantizedGraph, progress: Stage) -> QuantizedGraph:
    """The scaled graph with its kernels on their grids, and its learned biases corrected for the mean rounding error.

    The heat map's tensors, which are not in the loss, get their ranges from a calibration.
    """
    graph, images = scaled.graph, material.calibration_images
    unseen = sorted(set(scaled.ranges) - set(quantized_tensors(graph)))
    rounding = images[:ROUNDING_IMAGES]
    batch_size = calibration_batch(graph.image_size)
    batches = len(unseen) * -(-len(images) // batch_size) + -(-len(rounding) // batch_size)
    with progress("fine-tuning int8: rounding kernels", batches) as bar:
        mapped = with_heatmap(graph)
        histograms = {name: histogram_of(mapped, name, images, batch_size, bar.tick) for name in unseen}
        ranges = {**scaled.ranges, **choose_ranges(graph, histograms, material.symmetric)}
        return round_kernels(graph, ranges, rounding, batch_size, bar.tick)
