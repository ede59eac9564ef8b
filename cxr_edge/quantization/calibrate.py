"""Activation ranges from a representative data set.

Per-tensor ranges decide whether Xception survives int8: the largest channel of a depthwise output is up to 214 times
the median one, so the minimum and maximum leave most channels a few steps. Ranges are therefore cut where the histogram
says that cutting costs less than it gains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.console import quiet
from cxr_edge.quantization.build import build_graph
from cxr_edge.quantization.graph import Graph, quantized_tensors
from cxr_edge.training.backend import keras, tf

BINS = 2048
#: On the radiography data (128 px, int8-ptq, 402 images), 99.9 to 99.99 differ by an image or two; minimum and maximum
#: lose every ninth.
PERCENTILE = 99.99


@dataclass(frozen=True)
class Histogram:
    """Counts of a tensor's values in equal bins from `low` to `high`."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def percentile_range(self, percentile: float) -> tuple[float, float]:
        """The range without the `100 - percentile` per cent outermost values at each end that has values past 0."""
        total = self.counts.sum()
        below = np.cumsum(self.counts) / total
        width = (self.high - self.low) / len(self.counts)
        tail = (100.0 - percentile) / 100.0
        first = int(np.searchsorted(below, tail, side="right"))
        last = int(np.searchsorted(below, 1.0 - tail, side="left"))
        low = self.low + first * width if tail else self.low
        high = self.low + (last + 1) * width if tail else self.high
        return min(low, 0.0), max(high, 0.0)


def collect_histograms(
    graph: Graph, images: NDArray[np.uint8], batch_size: int = 8, on_batch: Callable[[], None] | None = None
) -> dict[str, Histogram]:
    """Histograms of every tensor to be quantized, over uint8 images `[N, S, S, 1]`; two passes in float32.

    `on_batch` is called after each batch of each pass.
    """
    names = [name for name in quantized_tensors(graph) if name != IMAGE]
    model = build_graph(graph).model
    taps = keras.Model(model.input, [model.get_layer(name).output for name in names])

    @tf.function  # type: ignore[untyped-decorator]
    def extremes(batch: tf.Tensor) -> tf.Tensor:
        outputs = taps(tf.cast(batch, tf.float32))
        return tf.stack([[tf.reduce_min(value), tf.reduce_max(value)] for value in outputs])

    @tf.function  # type: ignore[untyped-decorator]
    def count(batch: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
        outputs = taps(tf.cast(batch, tf.float32))
        return tf.stack(
            [
                tf.histogram_fixed_width(value, bounds[index], nbins=BINS, dtype=tf.int32)
                for index, value in enumerate(outputs)
            ]
        )

    batches = [images[start : start + batch_size] for start in range(0, len(images), batch_size)]
    with quiet():
        # TensorFlow's optimizer complains about the many outputs when it first sees them, and does without.
        extremes(np.asarray(batches[0]))
    found = []
    for batch in batches:
        found.append(extremes(np.asarray(batch)).numpy())
        if on_batch:
            on_batch()
    bounds = np.stack([np.min(found, axis=0)[:, 0], np.max(found, axis=0)[:, 1]], axis=1)
    bounds[:, 1] = np.maximum(bounds[:, 1], bounds[:, 0] + 1e-6)
    counts = np.zeros((len(names), BINS), dtype=np.int64)
    for batch in batches:
        counts += count(np.asarray(batch), bounds.astype(np.float32)).numpy()
        if on_batch:
            on_batch()
    return {
        name: Histogram(float(low), float(high), row)
        for name, (low, high), row in zip(names, bounds, counts, strict=True)
    }


def choose_ranges(histograms: dict[str, Histogram], percentile: float = PERCENTILE) -> dict[str, tuple[float, float]]:
    """A range for each tensor, the image's own 0..255 among them, which needs no rounding."""
    ranges = {IMAGE: (0.0, 255.0)}
    for name, histogram in histograms.items():
        low, high = histogram.percentile_range(percentile)
        ranges[name] = (low, max(high, low + 1e-6))
    return ranges


def symmetric_range(low: float, high: float) -> tuple[float, float]:
    """The range -128..127 times a step, so that the zero point is 0, that takes in a given one."""
    step = max(-low / 128, high / 127)
    return -128 * step, 127 * step
