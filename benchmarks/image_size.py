"""The network of an int8 ONNX file for images of another size: as fast as a trained one, but its answers are invalid.

All layers but the first reshape take any size, and integer kernels take the same time whatever the weights are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.artifacts.bundle import write_manifest
from cxr_edge.artifacts.contract import Contract, contract
from cxr_edge.exporting.seal import sealed


def with_image_size(artifact: Artifact, size: int, folder: Path) -> Artifact:
    """Write a bundle of one file, without verdict and reference outputs, since those are of the original's size.

    Args:
        artifact: an int8 ONNX file that `cxr-edge export` wrote.
        size: S, in pixels, of the images `[N, S, S, 1]`.
        folder: a new folder.
    """
    old = artifact.metadata.contract
    new = contract(size, len(artifact.metadata.labels), heatmap=old.heatmap is not None)
    metadata = replace(
        artifact.metadata,
        contract=new,
        reference_sha256=None,
        parity=None,
        operating_point=None,
        reference_outputs=None,
    )
    folder.mkdir()
    path = folder / artifact.name
    path.write_bytes(sealed(_resized(onnx.load(artifact.path), new).SerializeToString(), metadata))
    written = read_artifact(path)
    write_manifest(folder, metadata.shared, [written])
    return written


def _resized(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    del model.metadata_props[:]
    shapes = {
        spec.name: spec.shape for spec in (contract.image, contract.probabilities, contract.heatmap) if spec is not None
    }
    for value in (*model.graph.input, *model.graph.output):
        for dimension, side in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(side, int):
                dimension.dim_value = side
    targets = {
        node.input[1] for node in model.graph.node if node.op_type == "Reshape" and contract.image.name in node.input
    }
    for constant in model.graph.initializer:
        if constant.name in targets:
            shape = np.array([0, 1, contract.image_size, contract.image_size], dtype=np.int64)
            constant.CopyFrom(numpy_helper.from_array(shape, constant.name))
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            _pad_by_rule(node)
    onnx.checker.check_model(model)
    return model


def _pad_by_rule(pooling: onnx.NodeProto) -> None:
    """TensorFlow's padding depends on whether a side is even: name the rule in place of the numbers."""
    padding = next((attribute for attribute in pooling.attribute if attribute.name == "pads"), None)
    if padding is not None:
        pooling.attribute.remove(padding)
        pooling.attribute.append(helper.make_attribute("auto_pad", "SAME_UPPER"))
