"""Import TensorFlow once, the one way that works: quietly, and with Keras 2, which tfmot needs."""

from __future__ import annotations

import os

from cxr_edge.errors import MissingDependencyError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Read when TensorFlow is first imported; tfmot refuses Keras 3 models.
os.environ["TF_USE_LEGACY_KERAS"] = "1"

try:
    import tensorflow as tf
    import tf_keras as keras
except ImportError as error:
    raise MissingDependencyError(f"TensorFlow with tf_keras ({error.name})", "train") from None

tf.get_logger().setLevel("ERROR")

__all__ = ["keras", "tf"]
