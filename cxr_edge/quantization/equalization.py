"""How far each tensor's channels are equalized before the tensor gets its single quantization step.

A tensor's step is set by its largest channel, so with full equalization all channels are rounded equally well. The cost
is in the pointwise or dense kernels that read it: their input channels share one step per output channel, and are
rounded worse the more their magnitudes differ. Cross-layer equalization (Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", 2019) and SmoothQuant (Xiao et al., 2023) remove a fixed share of the spread.
Here the share of each group of tensors is that with the least noise, predicted from the steps of tensors and kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.channel_scales import free_groups, scale_groups, with_channel_scales
from cxr_edge.quantization.channel_shifts import shiftable_tensors, with_channel_shifts
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.kernels import LARGEST
from cxr_edge.quantization.simulate import ACTIVATION_STEPS

#: Largest factor, relative to the median of a tensor's channels, by which a channel is reduced.
LIMIT = 64.0
#: A channel counts as at least the median channel divided by this. Enlarging quiet channels further gains little, and
#: one that is almost 0 on these images may be large on others: then it would set the tensor's range. With 2, 4, 8 and
#: without a floor (but at most 64 times), the logits of a calibrated graph had 33.7, 33.4, 33.0 and 20.5 dB in one fold
#: at 80 px, on 402 validation images; 32.1 and 32.4 in another (2 and 4), 30.3, 30.1 and 29.5 in a third (4, 8, none).
_FLOOR = 4.0
#: Candidate shares of the spread between channels, in logarithms, to remove.
_SHARES = np.linspace(0.0, 1.0, 11)
#: Squared error of kernels from `kernels.round_kernel`, as a share of that of kernels rounded to nearest.
_ROUNDED_BY_INPUTS = 0.35
#: Keeps denominators from being 0, for tensors and kernels that are 0 throughout.
_TINY = 1e-30


@dataclass(frozen=True)
class ChannelStatistics:
    """Statistics of a tensor's values over a representative data set, per channel, `[C]`."""

    lowest: NDArray[np.floating]
    highest: NDArray[np.floating]
    variance: NDArray[np.floating]

    @property
    def largest(self) -> NDArray[np.floating]:
        """The largest magnitude."""
        return np.asarray(np.maximum(np.abs(self.lowest), np.abs(self.highest)))

    def shifted(self, shift: NDArray[np.floating]) -> ChannelStatistics:
        """The statistics with a constant per channel added to the values."""
        return replace(self, lowest=self.lowest + shift, highest=self.highest + shift)


def equalized(graph: Graph, statistics: Mapping[str, ChannelStatistics]) -> Graph:
    """The same function with the channels of each tensor centred, where that is free, and equalized in magnitude.

    Args:
        graph: the float graph.
        statistics: of each quantized tensor.
    """
    shifts = {
        name: -(statistics[name].lowest + statistics[name].highest) / 2
        for name in shiftable_tensors(graph)
        if name in statistics
    }
    centred = with_channel_shifts(graph, shifts)
    centred_statistics = {
        name: figures.shifted(shifts[name]) if name in shifts else figures for name, figures in statistics.items()
    }
    return with_channel_scales(centred, equalizing_scales(centred, centred_statistics))


def equalizing_scales(graph: Graph, statistics: Mapping[str, ChannelStatistics]) -> dict[str, NDArray[np.float32]]:
    """Scales for each group of tensors that equalize the channels of its tensors.

    Args:
        graph: the float graph.
        statistics: of each quantized tensor.
    """
    groups, readers = scale_groups(graph), graph.consumers()
    scales = {}
    for group in free_groups(graph, groups):
        members = {name: readers[name] for name, other in groups.items() if other == group and name in statistics}
        if members:
            scales[group] = min(
                (_scale(share, [statistics[name] for name in members]) for share in _SHARES),
                key=lambda scale: sum(
                    _noise(reader, statistics[name], scale) for name, nodes in members.items() for reader in nodes
                ),
            ).astype(np.float32)
    return scales


def _scale(share: float, members: Sequence[ChannelStatistics]) -> NDArray[np.float64]:
    logarithm = -np.mean([_log_size(member.largest) for member in members], axis=0) * share
    return np.asarray(np.maximum(np.exp(logarithm - np.median(logarithm)), 1 / LIMIT))


def _log_size(largest: NDArray[np.floating]) -> NDArray[np.float64]:
    reached = largest[largest > 1e-6 * largest.max()]
    # A tensor may be 0 throughout, after a ReLU that no image reaches.
    floor = np.median(reached) / _FLOOR if len(reached) else _TINY
    return np.asarray(np.log(np.maximum(largest, floor)), np.float64)


def _noise(reader: Node, tensor: ChannelStatistics, scale: NDArray[np.float64]) -> float:
    """Noise-to-signal power ratio, due to rounding, of a node that reads a tensor; mean over output channels.

    Errors of different channels are assumed to be independent.
    """
    power = tensor.variance + max(1e-9 * tensor.variance.max(), _TINY)
    reach = max(float((tensor.highest * scale).max()), 0.0) - min(float((tensor.lowest * scale).min()), 0.0)
    activation = (reach / ACTIVATION_STEPS) ** 2 / 12
    if reader.kernel is None or reader.kind not in ("conv", "dense"):
        return float((activation / (scale**2 * power)).mean())
    kernel = np.abs(reader.kernel.reshape(-1, *reader.kernel.shape[-2:])) / scale[:, None]
    squares = (kernel**2).sum(axis=0)
    steps = kernel.max(axis=(0, 1)) / LARGEST
    inputs = power * scale**2
    rounded = _ROUNDED_BY_INPUTS * steps**2 / 12 * len(kernel) * inputs.sum()
    signal = (squares * inputs[:, None]).sum(axis=0) + _TINY
    return float(((activation * squares.sum(axis=0) + rounded) / signal).mean())
