"""The float graph as the teacher of its int8 form: the outputs to reproduce, and the loss of an int8 graph."""

from __future__ import annotations

from typing import Any

from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.runaway import is_ordinary
from cxr_edge.quantization.simulate import interpret, kernels_of
from cxr_edge.training.backend import tf

#: Softens the teacher's probabilities (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
_TEMPERATURE = 2.0
_LOGITS_WEIGHT = 0.2


class Teacher:
    """The float graph's logits, pooled features and residual sums, and how far the int8 graph's are from them."""

    def __init__(self, graph: Graph) -> None:
        self.logits = graph.nodes[-1].inputs[0]
        features = next(node.name for node in graph.nodes if node.kind == "mean")
        self.names = [self.logits, features, *(node.name for node in graph.nodes if node.kind == "add")]
        self.graph, self._kernels = graph, kernels_of(graph)

    def outputs(self, images: Any) -> list[Any]:
        """The values of `names` for float32 images `[N, S, S, 1]`."""
        tensors = interpret(self.graph, images, self._kernels)
        return [tensors[name] for name in self.names]

    def loss(self, answers: list[Any], outputs: list[Any]) -> Any:
        """The distance of the int8 graph's values of `names` from the float graph's `outputs`.

        Images on which the float graph runs away do not count: no range suits both them and the others.
        """
        teacher_logits, features, *sums = outputs
        weights = tf.cast(is_ordinary(sums), tf.float32)
        logits, int8_features, *int8_sums = answers
        difference = _centred(logits) - _centred(teacher_logits)
        ratio = tf.nn.log_softmax(teacher_logits / _TEMPERATURE) - tf.nn.log_softmax(logits / _TEMPERATURE)
        divergence = tf.reduce_sum(tf.nn.softmax(teacher_logits / _TEMPERATURE) * ratio, axis=-1)
        by_image = _LOGITS_WEIGHT * tf.reduce_sum(difference**2, axis=-1) + divergence
        loss = tf.reduce_sum(weights * by_image) / tf.reduce_sum(weights)
        loss += _relative_error(int8_features, features, weights)
        errors = [_relative_error(int8_sum, value, weights) for int8_sum, value in zip(int8_sums, sums, strict=True)]
        return loss + tf.add_n(errors) / len(errors)


def _centred(logits: Any) -> Any:
    """The logits minus their mean, which softmax ignores."""
    return logits - tf.reduce_mean(logits, axis=-1, keepdims=True)


def _relative_error(value: Any, reference: Any, weights: Any) -> Any:
    """Squared error over the reference's power, per channel, so that no large channel drowns the small ones; the images
    weighted by `weights`, `[N]`.
    """
    axes = list(range(len(value.shape) - 1))
    weights = tf.reshape(weights, [-1] + [1] * len(axes))
    power = tf.reduce_sum(weights * reference**2, axes)
    error = tf.reduce_sum(weights * (value - reference) ** 2, axes)
    return tf.reduce_mean(error / (power + 1e-6 * tf.reduce_sum(power)))
