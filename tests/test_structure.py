"""Damaged and forged files are refused before a runtime parses them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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


_READ = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
from cxr_edge.errors import ArtifactError
from cxr_edge.structure.check import structure_of
try:
    structure_of(Path(sys.argv[1]))
except ArtifactError as error:
    print(error)
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def read_apart(path: Path) -> str:
    """What a separate process, of little memory and time, prints about a file: nothing if it is sound."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _READ, path], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    *message, peak = done.stdout.splitlines()
    assert int(peak) < 200 << 10
    assert len("".join(message)) < 500
    return "".join(message)


def written(builder: flatbuffers.Builder, fields: Mapping[int, int], last: int = 12) -> int:
    """A table whose fields refer to what was written before, with space for others up to `last`."""
    builder.StartObject(last + 1)
    for field, target in fields.items():
        builder.PrependUOffsetTRelativeSlot(field, target, 0)
    builder.PrependInt32Slot(last, 1, 0)
    return int(builder.EndObject())


def listed(builder: flatbuffers.Builder, targets: Sequence[int]) -> int:
    builder.StartVector(4, len(targets), 4)
    for target in targets:
        builder.PrependUOffsetTRelative(target)
    return int(builder.EndVector())


def shared_table(builder: flatbuffers.Builder) -> list[int]:
    both = listed(builder, 20_000 * [written(builder, {}, 32_000)])
    return [written(builder, {0: both, 3: both})]


def shared_name(length: int) -> Callable[[flatbuffers.Builder], list[int]]:
    def graphs(builder: flatbuffers.Builder) -> list[int]:
        # A character beyond the 16-bit range, because of which Python takes four bytes for each.
        tensor = written(builder, {3: builder.CreateString("\N{LUNGS}" + "x" * (length - 4))})
        return [written(builder, {0: listed(builder, 20_000 * [tensor])})]

    return graphs


def shared_graph(builder: flatbuffers.Builder) -> list[int]:
    return 16 * [written(builder, {3: listed(builder, 20_000 * [written(builder, {})])})]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the memory")
@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        (shared_table, ""),
        (shared_name(4096), ""),
        (shared_name(1 << 20), "a text of 1048576 bytes"),
        (shared_graph, "a list of 20000"),
    ],
    ids=["table", "name", "huge name", "graph"],
)
def test_content_that_a_tflite_file_shares_does_not_multiply(
    tmp_path: Path, graphs: Callable[[flatbuffers.Builder], list[int]], message: str
) -> None:
    builder = flatbuffers.Builder(1 << 20)
    content = {1: listed(builder, [written(builder, {})]), 4: listed(builder, [written(builder, {})])}
    builder.Finish(written(builder, {**content, 2: listed(builder, graphs(builder))}), b"TFL3")
    path = tmp_path / "forged.tflite"
    path.write_bytes(builder.Output())
    reason = read_apart(path)
    assert message in reason and bool(message) == bool(reason)


def delimited(number: int, content: bytes) -> bytes:
    """A field of a protobuf message."""
    encoder = bytearray([number << 3 | 2])
    length = len(content)
    while length > 127:
        encoder.append(length & 127 | 128)
        length >>= 7
    return bytes(encoder) + bytes([length]) + content


def constant(content: bytes) -> bytes:
    return delimited(5, content)


def sized_input(sizes: bytes) -> bytes:
    return delimited(11, delimited(2, delimited(1, delimited(2, sizes))))


def node(kind: bytes) -> bytes:
    return delimited(1, delimited(4, kind))


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (constant(delimited(1, b"\x01" * (3 << 20))), "more than 8 numbers"),
        (constant(b"\x08\x01" * (3 << 20)), "more than 8 dimensions"),
        (sized_input(delimited(1, b"\x08\x01") * (3 << 20)), "more than 8 dimensions"),
    ],
    ids=["packed", "one by one", "input"],
)
def test_millions_of_dimensions_are_refused_at_once(tmp_path: Path, forged: bytes, message: str) -> None:
    path = tmp_path / "forged.onnx"
    path.write_bytes(delimited(7, node(b"Relu") + forged))
    start = time.process_time()
    with pytest.raises(ArtifactError, match=message) as refusal:
        structure_of(path)
    assert time.process_time() - start < 1
    assert len(str(refusal.value)) < 500


def test_an_input_of_an_impossible_size_is_refused(tmp_path: Path) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 10**10, 10**10, 1])
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph([helper.make_node("Softmax", ["image"], ["probabilities"])], "g", [image], [answer])
    onnx.save(helper.make_model(graph), tmp_path / "forged.onnx")
    with pytest.raises(ArtifactError, match="image has 1" + 20 * "0" + " values"):
        structure_of(tmp_path / "forged.onnx")


def test_long_names_of_operators_do_not_flood_the_terminal(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny / "xception-float32.onnx")
    for index in range(5):
        model.graph.node.add(op_type=f"{index}" + (1 << 20) * "\N{LUNGS}")
    onnx.save(model, tmp_path / "forged.onnx")
    with pytest.raises(ArtifactError, match="operators that no artifact has: 0") as refusal:
        require_sound(tmp_path / "forged.onnx")
    assert len(str(refusal.value)) < 500 + len(str(tmp_path))
