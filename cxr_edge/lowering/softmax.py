"""SOFTMAX, which outputs the probabilities."""

from __future__ import annotations

from cxr_edge.artifacts.contract import PROBABILITIES
from cxr_edge.artifacts.tflite_file import Operator
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation


def lower_softmax(translation: Translation, operator: Operator) -> None:
    """SOFTMAX in float; its output has the contract's name."""
    (source,), (target,) = operator.inputs, operator.outputs
    if not translation.is_float(source):
        raise ArtifactError("an int8 softmax has no lowering: its step of 1/256 ties close classes")
    translation.values[target] = translation.builder.node(
        "Softmax", [translation.values[source]], PROBABILITIES, axis=-1
    )
