"""Choose the channels to keep so that a network meets its budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cxr_edge.runs.network import Network, macs_of
from cxr_edge.shrinking.importance import Importance

#: Widths are multiples of this: integer kernels compute this many output channels at a time, and pad the rest.
MULTIPLE = 16
#: At least this share of each group stays, so that no convolution becomes a bottleneck.
LEAST_SHARE = 0.25
#: The channels that stay, by group, in their order.
Kept = Mapping[str, NDArray[np.int64]]


def prune(network: Network, importance: Importance, budget: int, image_size: int) -> tuple[Network, Kept] | None:
    """Remove channels step by step, always those with the least importance per multiply-accumulate saved.

    Args:
        network: to be pruned.
        importance: of its channels.
        budget: the most multiply-accumulates.
        image_size: pixels.

    Returns:
        The network and its channels; None if it exceeds the budget at its least widths.
    """
    widths, least = network.widths(), _least_widths(network)
    orders = {group: np.argsort(importance[group], kind="stable") for group in widths}
    removed = {group: np.concatenate([[0.0], np.cumsum(importance[group][orders[group]])]) for group in widths}
    costs = network.costs(image_size)
    costs_of = {group: [cost for cost in costs if group in (cost.reads, cost.writes)] for group in widths}
    macs, full = macs_of(costs, widths), dict(widths)
    while macs > budget:
        steps = []
        for group, width in widths.items():
            narrower = (width - 1) // MULTIPLE * MULTIPLE
            if narrower >= least[group]:
                affected = costs_of[group]
                saved = macs_of(affected, widths) - macs_of(affected, {**widths, group: narrower})
                lost = removed[group][full[group] - narrower] - removed[group][full[group] - width]
                steps.append((lost / saved, group, narrower, saved))
        if not steps:
            return None
        _, group, width, saved = min(steps)
        widths[group] = width
        macs -= saved
    kept = {group: np.sort(order[full[group] - widths[group] :]) for group, order in orders.items()}
    return network.with_widths(widths), kept


def least_macs(network: Network, image_size: int) -> int:
    """Multiply-accumulates of a network at its least widths."""
    return network.with_widths(_least_widths(network)).macs(image_size)


def _least_widths(network: Network) -> dict[str, int]:
    return {group: min(width, _multiple(LEAST_SHARE * width)) for group, width in network.widths().items()}


def _multiple(width: float) -> int:
    return max(MULTIPLE, round(width / MULTIPLE) * MULTIPLE)
