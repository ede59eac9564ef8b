"""Artifacts obey the contract, are what they are called, and hold the same integers in both formats."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.evaluation.verified_artifact import recorded
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import all_runtimes, runtimes_for
from tests.conftest import ANY_GATE, Cli, assert_same_answers
from tests.graphs import small_graph

FORMATS = ("tflite", "onnx")
QUANTIZATIONS = ("float32", "fp16", "int8", "int8-ptq")
EVERY = [f"xception-{quantization}.{kind}" for quantization in QUANTIZATIONS for kind in FORMATS]


@pytest.fixture(scope="session")
def images(run: Run) -> NDArray[np.uint8]:
    """The test split, uint8 `[81, 71, 71, 1]`."""
    return np.asarray(decoded(run_split(run), "test", 71))


@pytest.fixture(scope="session")
def keras_probabilities(run: Run, bundle: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """With the temperature that the artifacts have in them."""
    from cxr_edge.training.classifier import load_classifier, predict_probabilities

    temperature = read_manifest(bundle).shared.temperature
    return apply_temperature(predict_probabilities(load_classifier(run), images), temperature)


def test_the_bundle_lists_every_artifact(bundle: Path) -> None:
    assert sorted(artifact.name for artifact in read_bundle(bundle)) == sorted(EVERY)
    assert {path.name for path in bundle.iterdir()} == {*EVERY, "manifest.json", "reference.npz", "MODEL_CARD.md"}


@pytest.mark.parametrize("name", EVERY)
def test_contract_of_every_artifact_on_every_runtime(
    bundle: Path, name: str, images: NDArray[np.uint8], keras_probabilities: NDArray[np.float32]
) -> None:
    artifact = read_artifact(bundle / name)
    tolerance = {"float32": 1e-4, "fp16": 0.02}.get(artifact.quantization, 0.35)
    for runtime in all_runtimes():
        if artifact.format not in runtime.formats:
            continue
        session = runtime.load(artifact.path, threads=1)
        single, four = session.run(images[:1]), session.run(images[:4])
        assert (single.dtype, single.shape, four.shape) == (np.float32, (1, 3), (4, 3))
        assert np.abs(four[:1] - single).max() < 1e-5
        assert np.abs(four.sum(axis=1) - 1).max() < 1e-5
        assert np.abs(four - keras_probabilities[:4]).max() < tolerance, runtime.title


def test_tensors_carry_the_contracts_names(bundle: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    session = onnxruntime.InferenceSession(bundle / "xception-int8.onnx", providers=["CPUExecutionProvider"])
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["N", 71, 71, 1])
    ]
    assert [(value.name, value.type, value.shape) for value in session.get_outputs()] == [
        ("probabilities", "tensor(float)", ["N", 3]),
        ("heatmap", "tensor(float)", ["N", 3, 3, 3]),
    ]
    interpreter = Interpreter(str(bundle / "xception-int8.tflite"))
    assert [detail["name"] for detail in interpreter.get_input_details()] == ["image"]
    assert [detail["name"] for detail in interpreter.get_output_details()] == ["probabilities", "heatmap"]
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["image"], "outputs": ["heatmap", "probabilities"]}


@pytest.mark.parametrize("name", EVERY)
def test_metadata_travels_inside_each_file(run: Run, bundle: Path, name: str) -> None:
    alone = read_artifact(bundle / name)
    listed = next(artifact for artifact in read_bundle(bundle) if artifact.name == name)
    assert alone.labels == listed.labels == ("COVID-19", "Viral Pneumonia", "Normal")
    assert alone.sha256 == listed.sha256
    assert alone.parity == listed.parity
    assert alone.parity is not None
    assert alone.metadata.training.data_sha256 == run.config().data_sha256
    assert to_json(alone.metadata.contract) == {
        "input": {"name": "image", "type": "uint8", "shape": ["N", 71, 71, 1]},
        "output": {"name": "probabilities", "type": "float32", "shape": ["N", 3]},
        "heatmap": {"name": "heatmap", "type": "float32", "shape": ["N", 3, 3, 3]},
    }
    if name.endswith(".tflite"):
        with zipfile.ZipFile(bundle / name) as archive:
            assert archive.read("labels.txt").decode().splitlines() == list(alone.labels)


@pytest.mark.parametrize("kind", FORMATS)
def test_float_and_fine_tuned_int8_are_accurate(bundle: Path, kind: str) -> None:
    verdicts = {
        quantization: recorded(read_artifact(bundle / f"xception-{quantization}.{kind}")).parity
        for quantization in QUANTIZATIONS
    }
    for quantization in ("float32", "fp16", "int8"):
        assert verdicts[quantization].verdict == "passed"
        assert verdicts[quantization].classes[0].label == "COVID-19"
        assert verdicts[quantization].accuracy >= 0.9
    assert verdicts["float32"].largest_difference < 1e-3


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("quantization", ["int8", "int8-ptq"])
def test_int8_files_are_a_quarter(bundle: Path, kind: str, quantization: str) -> None:
    small = read_artifact(bundle / f"xception-{quantization}.{kind}")
    assert small.bytes <= 0.28 * read_artifact(bundle / f"xception-float32.{kind}").bytes


@pytest.mark.parametrize("quantization", ["int8", "int8-ptq"])
def test_both_formats_hold_the_same_integers(bundle: Path, images: NDArray[np.uint8], quantization: str) -> None:
    probabilities = [
        score_images(runtimes_for(kind)[0].load(bundle / f"xception-{quantization}.{kind}", 2), images)
        for kind in FORMATS
    ]
    assert_same_answers(bundle, probabilities[0], probabilities[1])


def test_onnx_runtime_runs_integers_only(bundle: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(bundle / "xception-int8.onnx", options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    # One of them is the heat map's.
    assert kinds["QLinearConv"] == 39
    # The classes' evidence, from the hidden units' at 9 places.
    assert kinds["Conv"] == 1
    assert kinds["QGemm"] == 2
    for kind in ("FusedConv", "NhwcFusedConv", "Gemm", "Relu", "QuantizeLinear"):
        assert kinds[kind] == 0, kind
    # The logits, for the softmax in float, and the heat map's hidden units.
    assert kinds["DequantizeLinear"] == 2
    assert kinds["Transpose"] <= 3


def test_litert_runs_int8_in_one_delegated_piece(bundle: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(bundle / "xception-int8.tflite"))
    interpreter.allocate_tensors()
    kinds = Counter(operator["op_name"] for operator in interpreter._get_ops_details())
    assert kinds["DELEGATE"] == 1
    assert kinds["RELU"] == 0
    assert kinds["CONV_2D"] + kinds["DEPTHWISE_CONV_2D"] == 40


VERDICTS = {"float32": "float", "fp16": "float", "int8": "int8", "int8-ptq": "int8"}


@pytest.mark.parametrize("name", EVERY)
def test_inspect_tells_int8_from_float(bundle: Path, cli: Cli, tmp_path: Path, name: str) -> None:
    result = cli("inspect", bundle / name, "--json", tmp_path / "x.json")
    assert result.code == 0
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["computation"]["verdict"] == VERDICTS[record["metadata"]["quantization"]]
    # The trained network at 71 px, one channel; the same in every file.
    total = record["computation"]["integer_macs"] + record["computation"]["float_macs"]
    assert total == pytest.approx(EXPECTED_MACS, rel=0.001)
    assert record["sha256"] in result.out.replace("\n", "") or record["sha256"][:20] in result.out


#: 1.8 million of them are the heat map's.
EXPECTED_MACS = 176_140_000


@pytest.mark.slow
def test_inspect_catches_int8_in_name_only(cli: Cli, tmp_path: Path) -> None:
    """The classic fakes: a fine-tuned model straight through tf2onnx, and a dynamic-range TFLite file."""
    import tf2onnx

    from cxr_edge.quantization.build import build_graph
    from cxr_edge.quantization.graph import quantized_tensors
    from cxr_edge.training.backend import tf

    graph = small_graph()
    simulated = build_graph(graph, dict.fromkeys(quantized_tensors(graph), (-8.0, 8.0)))
    tf2onnx.convert.from_keras(simulated, opset=17, output_path=str(tmp_path / "int8.onnx"))
    converter = tf.lite.TFLiteConverter.from_keras_model(build_graph(graph))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    (tmp_path / "int8.tflite").write_bytes(converter.convert())
    for kind in FORMATS:
        assert cli("inspect", tmp_path / f"int8.{kind}", "--json", tmp_path / "x.json").code == 0
        record = json.loads((tmp_path / "x.json").read_text())
        assert record["metadata"] is None
        assert record["computation"]["verdict"] == "float despite its name", kind


def test_repeated_exports_are_byte_identical(small_run: Run, small_bundle: Path, cli: Cli) -> None:
    """For float32; `test_notebook` covers int8."""
    path = small_bundle / "xception-float32.onnx"
    before = path.read_bytes()
    # By its old name.
    assert cli("export", "--run", small_run.folder, "--format", "onnx", "--quantize", "none", *ANY_GATE).code == 0
    assert path.read_bytes() == before
    assert len(read_bundle(small_bundle)) == len(EVERY)


@pytest.mark.exhaustive
def test_repeated_fine_tunings_are_byte_identical(run: Run, cli: Cli, tmp_path: Path) -> None:
    """On the full network: the sums of a small one are too short for their order to matter."""
    contents = set()
    for name in ("first", "second"):
        folder = tmp_path / name
        shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("quantized", "bundle*"))
        assert cli("export", "--run", folder, "--format", "tflite", "--qat-steps", "6", *ANY_GATE).code == 0
        contents.add((folder / "bundle/xception-int8.tflite").read_bytes())
    assert len(contents) == 1


@pytest.fixture
def copied(run: Run, bundle: Path, tmp_path: Path) -> Run:
    """A copy of the run to spoil."""
    folder = tmp_path / "copied"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("quantized"))
    return Run(folder)


@pytest.mark.parametrize("name", ["xception-int8.onnx", "xception-float32.tflite"])
def test_a_tampered_artifact_is_refused_everywhere(
    copied: Run, cli: Cli, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied.bundle / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    picture = next((copied.folder / "phantoms" / "Normal").iterdir())
    # Nothing is remembered of the runtimes here: `predict` looks at every int8 file before it takes one.
    monkeypatch.setenv("CXR_EDGE_CACHE", str(copied.folder / "cache"))
    by_bundle = [["predict", picture, "--bundle", copied.bundle]] if "int8" in name else []
    for command in (["verify", "--run", copied.folder], ["bench", "--bundle", copied.bundle], *by_bundle,
                    ["evaluate", "--artifact", path], ["predict", picture, "--artifact", path]):  # fmt: skip
        result = cli(*command)
        assert result.code == 2
        assert name in result.err
        assert "SHA-256" in result.err


def test_damaged_and_foreign_files_are_named(tmp_path: Path, bundle: Path, cli: Cli) -> None:
    (tmp_path / "text.onnx").write_text("not a model")
    (tmp_path / "text.tflite").write_text("not a model")
    (tmp_path / "model.bin").write_text("not a model")
    whole = (bundle / "xception-int8.onnx").read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    for name in ("text.onnx", "text.tflite", "model.bin", "half.onnx", "missing.onnx"):
        for command in (["inspect", tmp_path / name], ["predict", "x.png", "--artifact", tmp_path / name]):
            result = cli(*command)
            assert result.code == 2, (name, command)
            assert name in result.err


@pytest.mark.parametrize(
    "arguments",
    [["--format", "coreml"], ["--quantize", "int4"], ["--qat-steps", "0"], ["--min-agreement", "95"]],
)
def test_bad_export_options(run: Run, cli: Cli, arguments: list[str]) -> None:
    result = cli("export", "--run", run.folder, *arguments)
    assert result.code == 2
    assert arguments[1] in result.err or arguments[0] in result.err
