"""A network taking images of another size, as `benchmarks.web_speed` measures it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.image_size import with_image_size
from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.artifacts.contract import IMAGE, PROBABILITIES, contract
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.exporting.seal import sealed
from tests.artifacts import some_metadata

#: Odd, and its half, 36, is even, so the two poolings are padded differently; for 130 it is the other way round.
SIZE = 71


def _graph() -> bytes:
    """What the size is written into in an exported file: two shapes, a reshape, and the padding of poolings."""
    pooled = {"kernel_shape": [3, 3], "strides": [2, 2]}
    nodes = [
        helper.make_node("Reshape", [IMAGE, "image_shape"], ["grey"]),
        helper.make_node("Cast", ["grey"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MaxPool", ["float"], ["half"], pads=[1, 1, 1, 1], **pooled),
        helper.make_node("MaxPool", ["half"], ["quarter"], pads=[0, 0, 1, 1], **pooled),
        helper.make_node("GlobalAveragePool", ["quarter"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES], axis=-1),
    ]
    constants = {"image_shape": np.int64([0, 1, SIZE, SIZE]), "weights": np.float32([[0.02, 0.01, 0.0]])}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", SIZE, SIZE, 1])],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    metadata = some_metadata(format=ArtifactFormat.ONNX, contract=contract(SIZE, 3))
    assert metadata.parity is not None
    path = tmp_path / "xception-int8.onnx"
    path.write_bytes(sealed(_graph(), metadata))
    return read_artifact(path)


def answers(artifact: Artifact, size: int) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([PROBABILITIES], {IMAGE: images})[0])


def test_the_same_size_gives_the_same_answers(artifact: Artifact, tmp_path: Path) -> None:
    again = with_image_size(artifact, SIZE, tmp_path / "same")
    assert np.array_equal(answers(again, SIZE), answers(artifact, SIZE))


@pytest.mark.parametrize("size", [130, 299])
def test_another_size_is_a_bundle_that_claims_nothing_about_its_answers(
    artifact: Artifact, size: int, tmp_path: Path
) -> None:
    larger = with_image_size(artifact, size, tmp_path / "larger")
    assert answers(larger, size).shape == (2, 3)
    assert read_bundle(tmp_path / "larger") == [larger]
    assert larger.image_size == size
    assert larger.verdict is None and larger.reference is None and larger.metadata.reference_sha256 is None
    shapes = {value.name: value for value in _inferred(larger).graph.value_info}
    # TensorFlow's rule, which Xception is trained with: half of it, rounded up.
    assert _sides(shapes["quarter"]) == [-(-size // 4)] * 2


def _inferred(artifact: Artifact) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(onnx.load(artifact.path), data_prop=True)


def _sides(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim][2:]
