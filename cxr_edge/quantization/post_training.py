"""From ranges to an int8 graph without learning anything: kernels rounded by their inputs, biases corrected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.bias_correction import correct_biases, stages
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges
from cxr_edge.quantization.rounding import round_kernels

#: Of the representative data set, the first images serve these, which need no tails.
ROUNDING_IMAGES, CORRECTION_IMAGES = 256, 64
CALIBRATION_BATCH = 8


def int8_graph(
    graph: Graph, ranges: Ranges, images: NDArray[np.uint8], on_batch: Callable[[], None] | None = None
) -> QuantizedGraph:
    """A float graph with its kernels on their grids and its biases corrected.

    Args:
        graph: in float.
        ranges: of its quantized tensors.
        images: the representative data set, uint8 `[N, S, S, 1]`.
        on_batch: called after each of `batches_of(graph, images)`.
    """
    rounded = round_kernels(graph, ranges, images[:ROUNDING_IMAGES], CALIBRATION_BATCH, on_batch)
    return correct_biases(graph, rounded, images[:CORRECTION_IMAGES], CALIBRATION_BATCH, on_batch)


def batches_of(graph: Graph, images: NDArray[np.uint8]) -> int:
    """How many batches `int8_graph` computes."""
    correction = -(-min(len(images), CORRECTION_IMAGES) // CALIBRATION_BATCH)
    return -(-min(len(images), ROUNDING_IMAGES) // CALIBRATION_BATCH) + (1 + len(stages(graph))) * correction
