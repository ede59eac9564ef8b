"""Activation ranges from a representative data set.

Per-tensor ranges decide whether Xception survives int8. Therefore channels are equalized first (`equalization`), and
the range of each tensor minimizes the squared error of clipping and rounding combined. Clipping has the larger weight:
rounding errors are practically random, and pooling averages them away, whereas a clipped value, which was an extreme
one, always errs in the same direction. No percentile suits all tensors: on a model of 160 px, the same 0.01 % clips
some tensors badly and leaves others too wide (17.7 dB at the percentile 99.99, 18.8 at 99.999).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.console import quiet
from cxr_edge.quantization.equalization import ChannelStatistics
from cxr_edge.quantization.graph import Graph, quantized_tensors
from cxr_edge.quantization.quantized_graph import Ranges
from cxr_edge.quantization.simulate import ACTIVATION_STEPS, images_of, interpret, kernels_of
from cxr_edge.training.backend import tf

BINS = 4096
#: Factor that widens the ranges of pooled features, hidden units and logits. With one value per image, a few hundred
#: images say little about their tails, and larger steps do no harm: rounding them alone leaves 40 dB or more.
HEAD_MARGIN = 2.0
#: How much worse a squared clipping error is than a squared rounding error. At 128 px, activations alone in int8, with
#: weights of 1, 4, 16, 64 and without clipping: 18.9, 20.8, 21.9, 21.7 and 19.2 dB of the logits for one training seed,
#: 25.2, 23.3, 24.0, 23.3 and 20.5 for another (105 validation images; under shifts 16.2 to 22.0, and 20.5 to 22.5).
CLIPPING_WEIGHT = 16.0
#: Candidate bounds, as shares of the lowest and of the highest value.
_SHARES = np.linspace(0.25, 1.0, 31)
Tick = Callable[[], None]


@dataclass(frozen=True)
class Histogram:
    """Counts of a tensor's values in equal bins from `low` to `high`."""

    low: float
    high: float
    counts: NDArray[np.int64]

    def best_range(self, symmetric: bool = False) -> tuple[float, float]:
        """The range, 0 included, whose 256 levels represent the values best.

        Args:
            symmetric: restrict it to -128..127 steps, so that the zero point is 0.
        """
        lowest, highest = min(self.low, 0.0), max(self.high, 0.0, self.low + 1e-6)
        if symmetric:
            reach = max(-lowest / 128, highest / 127)
            lows, highs = -128 * reach * _SHARES, 127 * reach * _SHARES
        else:
            lows = _SHARES * lowest if lowest < 0 else np.zeros(1)
            highs = _SHARES * highest
        clipped_below, below = self._clipped(self._centres < lows[:, None], lows)
        clipped_above, above = self._clipped(self._centres >= highs[:, None], highs)
        if not symmetric:
            lows, clipped_below, below = lows[:, None], clipped_below[:, None], below[:, None]
        within = self.counts.sum() - below - above
        rounding = within * ((highs - lows) / ACTIVATION_STEPS) ** 2 / 12
        errors = CLIPPING_WEIGHT * (clipped_below + clipped_above) + rounding
        best = np.unravel_index(errors.argmin(), errors.shape)
        return float(lows[best[0]].item()), float(highs[best[-1]])

    def _clipped(
        self, is_past: NDArray[np.bool_], bounds: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Sum of the squared distances of the values past each bound, and the number of such values."""
        width = (self.high - self.low) / len(self.counts)
        counts = np.where(is_past, self.counts, 0)
        distances = (self._centres - bounds[:, None]) ** 2 + width**2 / 12
        return (counts * distances).sum(axis=1), counts.sum(axis=1)

    @property
    def _centres(self) -> NDArray[np.float64]:
        steps = (np.arange(len(self.counts)) + 0.5) / len(self.counts)
        return np.asarray(self.low + steps * (self.high - self.low))


def calibration_batch(image_size: int) -> int:
    """Batch size: as many pixels as in 8 images of 299 px, whose patches take a gigabyte, but at most 64 images."""
    return max(1, min(64, 8 * 299**2 // image_size**2))


def channel_statistics(
    graph: Graph, images: NDArray[np.uint8], batch_size: int, on_batch: Tick | None = None
) -> dict[str, ChannelStatistics]:
    """The statistics of each quantized tensor for `equalization`, over images uint8 `[N, S, S, 1]`."""
    names, kernels = _quantized_but_image(graph), kernels_of(graph)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> list[tf.Tensor]:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        return [_channel_figures(tensors[name]) for name in names]

    rows = over_batches(step, images, batch_size, on_batch)
    weights = [min(batch_size, len(images) - start) for start in range(0, len(images), batch_size)]
    statistics = {}
    for index, name in enumerate(names):
        lowest, highest, means, squares = np.moveaxis(np.stack([row[index] for row in rows]).astype(np.float64), 1, 0)
        mean = np.average(means, axis=0, weights=weights)
        variance = np.average(squares, axis=0, weights=weights) - mean**2
        statistics[name] = ChannelStatistics(lowest.min(axis=0), highest.max(axis=0), np.maximum(variance, 0.0))
    return statistics


def _channel_figures(value: Any) -> Any:
    """Lowest, highest, mean and mean square per channel, `[4, C]`."""
    axes = list(range(len(value.shape) - 1))
    figures = (tf.reduce_min(value, axes), tf.reduce_max(value, axes), tf.reduce_mean(value, axes))
    return tf.stack([*figures, tf.reduce_mean(value**2, axes)])


def collect_histograms(
    graph: Graph,
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Tick | None = None,
) -> dict[str, Histogram]:
    """Histograms of every tensor to be quantized, over uint8 images `[N, S, S, 1]`; two passes in float32.

    Args:
        graph: in float.
        images: the representative data set.
        batch_size: images at a time.
        on_batch: called after each batch of each pass.
    """
    names, kernels = _quantized_but_image(graph), kernels_of(graph)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def extremes(batch: tf.Tensor) -> tf.Tensor:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        return tf.stack([[tf.reduce_min(tensors[name]), tf.reduce_max(tensors[name])] for name in names])

    ends = tf.TensorSpec([len(names), 2])

    @tf.function(input_signature=[images_of(graph), ends], autograph=False)  # type: ignore[untyped-decorator]
    def count(batch: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        return tf.stack([_counted(tensors[name], bounds[index]) for index, name in enumerate(names)])

    outer = np.stack(over_batches(extremes, images, batch_size, on_batch))
    bounds = _apart(np.stack([outer[:, :, 0].min(axis=0), outer[:, :, 1].max(axis=0)], axis=1))
    rows = over_batches(lambda batch: count(batch, bounds.astype(np.float32)), images, batch_size, on_batch)
    counts = np.asarray(np.sum(rows, axis=0, dtype=np.int64))
    return {
        name: Histogram(float(low), float(high), row)
        for name, (low, high), row in zip(names, bounds, counts, strict=True)
    }


def histogram_of(
    graph: Graph, name: str, images: NDArray[np.uint8], batch_size: int, on_batch: Tick | None = None
) -> Histogram:
    """Like `collect_histograms`, for a single tensor small enough to keep its values, so that one pass suffices."""
    kernels = kernels_of(graph)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> tf.Tensor:
        return interpret(graph, tf.cast(batch, tf.float32), kernels)[name]

    values = np.concatenate(over_batches(step, images, batch_size, on_batch))
    (bounds,) = _apart(np.array([[values.min(), values.max()]]))
    counts = _counted(values, bounds.astype(np.float32)).numpy().astype(np.int64)
    return Histogram(float(bounds[0]), float(bounds[1]), counts)


def _counted(values: Any, bounds: Any) -> Any:
    return tf.histogram_fixed_width(values, bounds, nbins=BINS, dtype=tf.int32)


def _apart(bounds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower and upper bounds `[N, 2]` with some room between them."""
    bounds[:, 1] = np.maximum(bounds[:, 1], bounds[:, 0] + 1e-6)
    return bounds


def choose_ranges(graph: Graph, histograms: dict[str, Histogram], symmetric: bool = False) -> Ranges:
    """A range for each tensor, including the image's 0..255, which needs no rounding."""
    head = _head_tensors(graph)
    ranges = {IMAGE: (0.0, 255.0)}
    for name, histogram in histograms.items():
        low, high = histogram.best_range(symmetric)
        margin = HEAD_MARGIN if name in head else 1.0
        ranges[name] = (margin * low, margin * high)
    return ranges


def _head_tensors(graph: Graph) -> set[str]:
    """The tensors from the pooled features to the end."""
    kinds = [node.kind for node in graph.nodes]
    return {node.name for node in graph.nodes[kinds.index("mean") :]}


def _quantized_but_image(graph: Graph) -> tuple[str, ...]:
    return tuple(name for name in quantized_tensors(graph) if name != IMAGE)


def over_batches(
    step: Callable[[NDArray[np.uint8]], tf.Tensor],
    images: NDArray[np.uint8],
    batch_size: int,
    on_batch: Tick | None,
) -> list[Any]:
    """What a traced function returns for each batch of images, as NumPy arrays."""
    rows: list[Any] = []
    for start in range(0, len(images), batch_size):
        # On the first call, TensorFlow's graph optimizer warns about the many outputs, and leaves the graph as it is.
        with quiet():
            outputs = step(np.asarray(images[start : start + batch_size]))
        rows.append([row.numpy() for row in outputs] if isinstance(outputs, list) else outputs.numpy())
        if on_batch:
            on_batch()
    return rows
