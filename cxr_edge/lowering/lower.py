"""Lower an int8 TFLite file to ONNX, integer for integer.

Both files then hold the same weights, scales and zero points. Every operator becomes one dequantize-operate-quantize
group of standard ONNX operators, which ONNX Runtime and OpenVINO fuse into one integer kernel each. The layout changes
once, at build time: weights are transposed here, and the one-channel input needs only a reshape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from cxr_edge.artifacts.contract import ANY, HEATMAP, IMAGE, PROBABILITIES
from cxr_edge.artifacts.tflite_file import Operator, read_tflite
from cxr_edge.errors import ArtifactError
from cxr_edge.lowering.activations import ActivationFormat
from cxr_edge.lowering.arithmetic import lower_add, lower_product, lower_reshape
from cxr_edge.lowering.conversions import lower_dequantize, lower_quantize
from cxr_edge.lowering.convolutions import lower_convolution, lower_depthwise_convolution, lower_fully_connected
from cxr_edge.lowering.pooling import lower_max_pool, lower_mean
from cxr_edge.lowering.reduced_range import in_reduced_range, input_means
from cxr_edge.lowering.softmax import lower_softmax
from cxr_edge.lowering.translation import Translation

#: Handlers that add a TFLite operator to the ONNX graph, by its name in TFLite's schema. Each raises ArtifactError for
#: unsupported cases.
HANDLERS: Mapping[str, Callable[[Translation, Operator], None]] = {
    "ADD": lower_add,
    "CONV_2D": lower_convolution,
    "DEPTHWISE_CONV_2D": lower_depthwise_convolution,
    "DEQUANTIZE": lower_dequantize,
    "DIV": lower_product,
    "FULLY_CONNECTED": lower_fully_connected,
    "MAX_POOL_2D": lower_max_pool,
    "MEAN": lower_mean,
    "MUL": lower_product,
    "QUANTIZE": lower_quantize,
    "RESHAPE": lower_reshape,
    "SOFTMAX": lower_softmax,
}


def lower_to_onnx(
    tflite: bytes,
    activations: ActivationFormat,
    opset: int,
    batch: int | None,
    representative: NDArray[np.uint8] | None = None,
) -> onnx.ModelProto:
    """An ONNX model with the integers of an int8 TFLite file.

    Input `image` uint8 `[N, S, S, 1]`, output `probabilities` float32 `[N, K]`, as in every artifact, and `heatmap` if
    the file has it.

    Args:
        tflite: the content of a full-integer TFLite file with a float softmax. For symmetric activations its zero
            points must be 0, and the layer that reads the image in float.
        activations: the integers to write.
        opset: opset version of the operators.
        batch: the only N that the file accepts; None for any.
        representative: images of the representative data set, uint8 `[N, S, S, 1]`, on which the biases of a reduced
            range are corrected; None to leave them.

    Raises:
        ArtifactError: the file contains something that this lowering does not support.
    """
    model = read_tflite(tflite)
    if activations.reduced_range:
        model = in_reduced_range(model, {} if representative is None else input_means(tflite, model, representative))
    translation = Translation(model, activations)
    (image,), (probabilities, *_) = translation.model.inputs, translation.model.outputs
    translation.values[image] = IMAGE
    for operator in translation.model.operators:
        if operator.kind not in HANDLERS:
            raise ArtifactError(f"TFLite operator {operator.kind} has no lowering to ONNX")
        HANDLERS[operator.kind](translation, operator)
    if translation.values.get(probabilities) != PROBABILITIES:
        raise ArtifactError("the TFLite file does not end in a softmax")
    return _model(translation, opset, ANY if batch is None else batch)


def _model(translation: Translation, opset: int, batch: int | str) -> onnx.ModelProto:
    """The finished graph, with the contract's inputs and outputs."""
    (image,), (probabilities, *heatmaps) = translation.model.inputs, translation.model.outputs
    shape = [batch, *translation.tensor(image).shape[1:]]
    inputs = [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape)]
    shape = [batch, translation.tensor(probabilities).shape[-1]]
    outputs = [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shape)]
    for index in heatmaps:
        translation.builder.node(
            "Transpose", [translation.values[index]], HEATMAP, name=f"{HEATMAP}_nhwc", perm=[0, 2, 3, 1]
        )
        shape = [batch, *translation.tensor(index).shape[1:]]
        outputs.append(helper.make_tensor_value_info(HEATMAP, TensorProto.FLOAT, shape))
    return translation.builder.model("cxr_edge_int8", inputs, outputs, opset)
