"""The float graph as the teacher of its int8 form: the outputs to reproduce, and the loss of an int8 graph."""

from __future__ import annotations

from typing import Any

from cxr_edge.quantization.graph import Graph
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
        """The distance of the int8 graph's values of `names` from the float graph's `outputs`."""
        teacher_logits, features, *sums = outputs
        logits, int8_features, *int8_sums = answers
        difference = _centred(logits) - _centred(teacher_logits)
        ratio = tf.nn.log_softmax(teacher_logits / _TEMPERATURE) - tf.nn.log_softmax(logits / _TEMPERATURE)
        divergence = tf.reduce_sum(tf.nn.softmax(teacher_logits / _TEMPERATURE) * ratio, axis=-1)
        loss = _LOGITS_WEIGHT * tf.reduce_mean(tf.reduce_sum(difference**2, axis=-1)) + tf.reduce_mean(divergence)
        loss += _relative_error(int8_features, features)
        errors = [_relative_error(int8_sum, value) for int8_sum, value in zip(int8_sums, sums, strict=True)]
        return loss + tf.add_n(errors) / len(errors)


def _centred(logits: Any) -> Any:
    """The logits minus their mean, which softmax ignores."""
    return logits - tf.reduce_mean(logits, axis=-1, keepdims=True)


def _relative_error(value: Any, reference: Any) -> Any:
    """Squared error over the reference's power, per channel, so that no large channel drowns the small ones."""
    axes = list(range(len(value.shape) - 1))
    power = tf.reduce_sum(reference**2, axes)
    return tf.reduce_mean(tf.reduce_sum((value - reference) ** 2, axes) / (power + 1e-6 * tf.reduce_sum(power)))
