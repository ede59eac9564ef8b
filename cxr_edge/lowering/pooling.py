"""MAX_POOL_2D and MEAN."""

from __future__ import annotations

from ai_edge_litert.schema_py_generated import ActivationFunctionType

from cxr_edge.artifacts.tflite_file import Operator
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.translation import Translation
from cxr_edge.lowering.windows import pads_of, strides_of


def lower_max_pool(translation: Translation, operator: Operator) -> None:
    """MAX_POOL_2D. The maximum of integers is an integer; only TensorRT wants it expressed in float."""
    (source,), (target,) = operator.inputs, operator.outputs
    if translation.tensor(source).quantization != translation.tensor(target).quantization:
        raise ArtifactError(f"{translation.layer(target)}: a MAX_POOL_2D that changes its scale has no lowering")
    _, height, width, _ = translation.tensor(source).shape
    window = (operator.options.filterHeight, operator.options.filterWidth)
    in_float = translation.activations.symmetric or translation.is_float(source)
    value = translation.builder.node(
        "MaxPool",
        [translation.dequantized(source) if in_float else translation.values[source]],
        f"t{target}_pooled",
        kernel_shape=list(window),
        strides=strides_of(operator),
        pads=pads_of(operator, (height, width), window),
    )
    if in_float:
        translation.finish(value, target, operator.options.fusedActivationFunction)
    elif operator.options.fusedActivationFunction != ActivationFunctionType.NONE:
        raise ArtifactError(f"{translation.layer(target)}: a MAX_POOL_2D with a fused activation has no lowering")
    else:
        translation.values[target] = value


def lower_mean(translation: Translation, operator: Operator) -> None:
    """MEAN over height and width."""
    source, axes = operator.inputs
    (target,) = operator.outputs
    over = translation.tensor(axes).data
    if over is None or sorted(over.reshape(-1).tolist()) != [1, 2]:
        raise ArtifactError(
            f"{translation.layer(target)}: a MEAN over axes other than height and width has no lowering"
        )
    mean = translation.builder.node("GlobalAveragePool", [translation.dequantized(source)], f"t{target}_float")
    if operator.options.keepDims:
        translation.quantize(mean, target)
    elif translation.activations.symmetric:
        # TensorRT cannot flatten int8.
        translation.quantize(translation.builder.node("Flatten", [mean], f"t{target}_flat"), target)
    else:
        translation.quantize(mean, target)
        flat = translation.builder.node("Flatten", [translation.values[target]], f"t{target}_flat")
        translation.values[target] = flat
