"""Import TensorFlow once, in the only way that works: quietly, and with Keras 2, which tfmot needs."""

from __future__ import annotations

import os

from cxr_edge.console import is_verbose, quiet
from cxr_edge.processors import usable_cores

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if is_verbose() else "3")
# Read on the first import of TensorFlow; tfmot refuses Keras 3 models.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
#: Threads of TensorFlow's computations, fixed at its start for the life of the process.
THREADS = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0")) or usable_cores()


with quiet():
    import tensorflow as tf
    import tf_keras as keras

    # TensorFlow logs the CPU's features when it initializes the devices, which a worker's strategy must do itself.
    if "TF_CONFIG" not in os.environ:
        tf.config.list_logical_devices()

if not is_verbose():
    tf.get_logger().setLevel("ERROR")

__all__ = ["THREADS", "keras", "tf"]
