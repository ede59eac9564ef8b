"""One worker of a distributed training of a small network: `python -m tests.workers train ...`, with its `TF_CONFIG`.

Dropout is off: each replica draws masks of its own, so with it no two distributions compute the same.
"""

from __future__ import annotations

import sys

import pytest

from tests.conftest import type_command
from tests.small_network import use_small_network

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        use_small_network(patch)
        patch.setattr("cxr_edge.training.train.DROPOUT", 0.0)
        code = type_command(sys.argv[1:])
    sys.exit(code)
