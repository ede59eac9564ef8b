"""Xception in small: training, fine-tuning and export in seconds, on a network of the same kinds of layers."""

from __future__ import annotations

import pytest

from cxr_edge.runs.network import Block, Network

SMALL = Network(
    (
        Block(1, (16, 32)),
        *(Block(number, (32, 32)) for number in (2, 3, 4)),
        *(Block(number, (48, 32, 32)) for number in (5, 6)),
        Block(13, (32, 32)),
        Block(14, (32, 48)),
    )
)


def use_small_network(patch: pytest.MonkeyPatch) -> None:
    """Runs that are started have it in place of Xception."""
    patch.setattr("cxr_edge.training.start.XCEPTION", SMALL)
