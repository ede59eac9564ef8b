"""Xception in small: training, fine-tuning and export in seconds, on a network of the same kinds of layers.

`python -m tests.small_network SIGNAL EPOCH train ...` is a training of it that gets a signal in an epoch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from cxr_edge.runs.history import History
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


def end_in_epoch(patch: pytest.MonkeyPatch, number: int, by: signal.Signals) -> None:
    """This process gets a signal when an epoch's checkpoint is on the disk, and the record of the epoch is not."""
    from cxr_edge.training import loop

    write = loop.write_history

    def write_or_end(path: Path, history: History) -> None:
        if len(history.epochs) == number:
            os.kill(os.getpid(), by)
        write(path, history)

    patch.setattr(loop, "write_history", write_or_end)


if __name__ == "__main__":
    from tests.conftest import type_command

    with pytest.MonkeyPatch.context() as patch:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        use_small_network(patch)
        end_in_epoch(patch, int(sys.argv[2]), signal.Signals[sys.argv[1]])
        code = type_command(sys.argv[3:])
    sys.exit(code)
