"""Optimize many small variables as a single one: an optimizer's operations for each variable take long to trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxr_edge.training.backend import tf


class FlatOptimizer:
    """Updates variables with an optimizer that works element by element.

    Args:
        variables: float32, of any shape.
        optimizer: a Keras optimizer with state per element, and none per variable.
    """

    def __init__(self, variables: Sequence[Any], optimizer: Any) -> None:
        self.variables, self.optimizer = list(variables), optimizer
        self.flat = tf.Variable(_joined(self.variables))
        optimizer.build([self.flat])

    def apply(self, gradients: Sequence[Any]) -> None:
        """Update the variables; a gradient of None counts as 0."""
        pairs = zip(gradients, self.variables, strict=True)
        dense = [tf.zeros_like(variable) if gradient is None else gradient for gradient, variable in pairs]
        self.optimizer.apply_gradients([(_joined(dense), self.flat)])
        self.scatter()

    def scatter(self) -> None:
        """Give each variable its part of the flat one, as after a checkpoint was restored."""
        parts = tf.split(self.flat, [variable.shape.num_elements() for variable in self.variables])
        for variable, part in zip(self.variables, parts, strict=True):
            variable.assign(tf.reshape(part, variable.shape))


def _joined(values: Sequence[Any]) -> Any:
    return tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)
