"""Damaged and forged files are refused before a runtime parses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from cxr_edge import ArtifactError, Classifier
from cxr_edge.artifacts.contract import ANY
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.structure.check import require_sound, structure_of
from tests.conftest import Cli
from tests.tiny import SIZE


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_the_structure_of_a_sound_file_is_read(tiny: Path, kind: str) -> None:
    structure = structure_of(tiny / f"xception-int8.{kind}")
    (image,), (probabilities,) = structure.inputs, structure.outputs
    assert (image.name, image.type, image.shape) == ("image", "uint8", (ANY, SIZE, SIZE, 1))
    assert (probabilities.name, probabilities.type, probabilities.shape) == ("probabilities", "float32", (ANY, 3))
    assert len(structure.operators) == 4
    require_sound(tiny / f"xception-int8.{kind}")


def external_weights(model: onnx.ModelProto) -> None:
    weights = model.graph.initializer[0]
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")


def external_constant(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32([1])))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.insert(0, constant)


def other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[-1].domain = "com.example"


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "ConstantOfShape"


def control_flow(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.append(helper.make_attribute("body", model.graph))


def two_columns(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2


def other_name(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores"


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4096


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("key", TensorProto.FLOAT, [1]))


def missing_bytes(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def huge_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="d")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_weights, "weights in another file"),
        (external_constant, "weights in another file"),
        (other_domain, "com.example.Softmax"),
        (unknown_operator, "ConstantOfShape"),
        (control_flow, "has a graph of its own"),
        (two_columns, r"\('N', 2\)"),
        (other_name, "no output is called probabilities"),
        (float_input, "image is float32"),
        (other_size, "4096"),
        (second_input, "2 inputs"),
        (missing_bytes, "bytes for"),
        (huge_constant, "values"),
        (function, "functions"),
    ],
)
def test_a_forged_onnx_file_is_refused_before_it_is_loaded(
    tiny: Path, tmp_path: Path, cli: Cli, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx.load(tiny / "xception-float32.onnx")
    change(model)
    path = tmp_path / "forged.onnx"
    path.write_bytes(model.SerializeToString())
    for use in (
        lambda: runtime_named("onnx").load(path, 1),
        lambda: Classifier.open(path),
        lambda: Classifier.open(path, "openvino"),
    ):
        with pytest.raises(ArtifactError, match=message):
            use()


def test_a_damaged_tflite_file_raises_nothing_but_artifact_errors(tiny: Path, tmp_path: Path) -> None:
    content = (tiny / "xception-float32.tflite").read_bytes()
    path = tmp_path / "damaged.tflite"
    refused = 0
    # Each four-byte number in the flatbuffer, in turn, is replaced by one that points past the file, or before it.
    for index, at in enumerate(range(0, 1800, 4)):
        value = (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\x00\x00\x00\x80")[index % 3]
        path.write_bytes(content[:at] + value + content[at + 4 :])
        try:
            structure_of(path)
        except ArtifactError:
            refused += 1
    assert refused > 150
    for length in range(0, content.index(b"PK\x03\x04"), 97):
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            runtime_named("litert").load(path, 1)


def test_inspect_refuses_what_its_manifest_does_not_describe(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    import shutil

    folder = shutil.copytree(tiny, tmp_path / "bundle")
    path = folder / "xception-float32.onnx"
    assert cli("inspect", path).code == 0
    model = onnx.load(path)
    model.producer_name = "somebody else"
    onnx.save(model, path)
    result = cli("inspect", path)
    assert result.code == 2
    assert "SHA-256" in result.err


def test_inspect_says_in_one_line_that_litert_cannot_load_a_file(tiny: Path, tmp_path: Path, cli: Cli) -> None:
    content = (tiny / "xception-float32.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    model.version = 9
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "later.tflite"
    path.write_bytes(bytes(builder.Output()))
    result = cli("inspect", path)
    assert result.code == 2
    assert "later.tflite: LiteRT cannot load it" in result.err
