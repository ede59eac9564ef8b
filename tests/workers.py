"""One process of a distributed training of a small network: `python -m tests.workers train ...`.

It is one of the workers in `TF_CONFIG`; or, with `MIRRORED_ON=2`, two replicas of `--strategy mirrored`, each on a CPU
device of its own. Dropout is off: each replica draws masks of its own, so no two distributions would compute the same.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import pytest


def use_cpu_devices(patch: pytest.MonkeyPatch, count: int) -> None:
    """Before anything else initializes TensorFlow's devices."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf

    logical = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    devices = [f"CPU:{index}" for index in range(count)]
    patch.setattr(tf.distribute, "MirroredStrategy", partial(tf.distribute.MirroredStrategy, devices))


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        if devices := os.environ.get("MIRRORED_ON"):
            use_cpu_devices(patch, int(devices))
        from tests.conftest import type_command
        from tests.small_network import use_small_network

        use_small_network(patch)
        patch.setattr("cxr_edge.training.train.DROPOUT", 0.0)
        code = type_command(sys.argv[1:])
    sys.exit(code)
