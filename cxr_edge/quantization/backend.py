"""tfmot, imported only after TensorFlow was set up for it."""

from __future__ import annotations

from cxr_edge.training.backend import keras, tf

# isort: split
import tensorflow_model_optimization as tfmot

__all__ = ["keras", "tf", "tfmot"]
