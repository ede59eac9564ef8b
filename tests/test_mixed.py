"""Where int8 loses, and leaving a layer out of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import runtimes_for
from tests.conftest import ANY_GATE, Cli, assert_same_answers, few_images, plain_rounding

#: A convolution between two quantized tensors, two with a float tensor between them, a sum, and the last layer.
KEPT = ("residual_conv2", "block2_sepconv1", "residual_add5", "probabilities")
#: The heat map's last step is float in every file.
FLOAT_OPERATORS = {"residual_conv2", "block2_sepconv1_depthwise", "block2_sepconv1_pointwise", "logits", "heatmap"}


@pytest.fixture(scope="module")
def mixed(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the run with a bundle of files that keep some layers in float."""
    from tests.conftest import type_command

    folder = tmp_path_factory.mktemp("mixed") / "run"
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns("bundle"))
    options = [option for layer in KEPT for option in ("--keep-float", layer)]
    with few_images(), plain_rounding():
        code = type_command(["export", "--run", str(folder), "--quantize", "int8-ptq", *options, *ANY_GATE])
    assert code == 0
    return Run(folder)


def float_kernels(mixed: Run) -> dict[str, np.ndarray]:
    """The float kernels in the TFLite file, by the name of the layer's output."""
    model = read_tflite((mixed.bundle / "xception-mixed-ptq.tflite").read_bytes())
    kernels = {}
    for operator in model.operators:
        if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            kernel = model.tensors[operator.inputs[1]]
            if kernel.dtype == "float32":
                kernels[model.tensors[operator.outputs[0]].name.removesuffix("_float")] = kernel.data
    return kernels


def test_kept_layers_have_the_float_kernels_up_to_a_factor_per_channel(mixed: Run) -> None:
    from cxr_edge.quantization.fold import fold
    from cxr_edge.training.classifier import load_classifier

    nodes = {node.name: node for node in fold(load_classifier(mixed)).nodes}
    kernels = float_kernels(mixed)
    assert set(kernels) == FLOAT_OPERATORS
    # Of a depthwise kernel, input and output scales are one factor per channel.
    ratios = kernels["block2_sepconv1_depthwise"][0] / nodes["block2_sepconv1_depthwise"].kernel
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:1, :1], ratios.shape), rtol=1e-4)
    # Of the last layer, the temperature and a factor per input channel.
    ratios = kernels["logits"].T / nodes["probabilities"].kernel
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1], ratios.shape), rtol=1e-4)
    # Of a pointwise one, a factor per input and one per output: its logarithms have no interaction.
    ratios = np.log(kernels["residual_conv2"].transpose(1, 2, 3, 0)[0, 0] / nodes["residual_conv2"].kernel[0, 0])
    interaction = ratios - ratios.mean(axis=0) - ratios.mean(axis=1, keepdims=True) + ratios.mean()
    np.testing.assert_allclose(interaction, 0, atol=1e-3)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_inspect_lists_float_layers_and_their_cost(mixed: Run, cli: Cli, tmp_path: Path, kind: str) -> None:
    artifact = mixed.bundle / f"xception-mixed-ptq.{kind}"
    result = cli("inspect", artifact, "--json", tmp_path / "x.json")
    assert result.code == 0
    record = json.loads((tmp_path / "x.json").read_text())
    assert record["metadata"]["calibration"]["keep_float"] == list(KEPT)
    computation = record["computation"]
    assert computation["verdict"] == "mixed"
    # On ONNX Runtime too, which would quantize a float kernel between integers by itself.
    assert {
        name.removeprefix("probabilities") or "logits" for name in computation["float_operators"]
    } == FLOAT_OPERATORS
    # Three of the small network's 38 are kept; the heat map has one in integers, and one in float.
    assert (computation["integer_convolutions"], computation["float_convolutions"]) == (36, 4)
    assert computation["extra_bytes"] == 3 * sum(kernel.size for kernel in float_kernels(mixed).values())
    assert "cost of float" in result.out


def test_both_formats_agree(mixed: Run) -> None:
    images = np.asarray(decoded(run_split(mixed), "test", 71))
    tflite, onnx = (
        score_images(runtimes_for(kind)[0].load(mixed.bundle / f"xception-mixed-ptq.{kind}", 2), images)
        for kind in ("tflite", "onnx")
    )
    assert_same_answers(mixed.bundle, tflite, onnx)
    assert read_artifact(mixed.bundle / "xception-mixed-ptq.onnx").quantization == "mixed-ptq"


def test_an_unknown_layer_is_refused_with_similar_names(small_run: Run, cli: Cli) -> None:
    result = cli("export", "--run", small_run.folder, "--keep-float", "block4_sepconv9")
    assert result.code == 2
    assert "block4_sepconv9" in result.err
    assert "block4_sepconv1" in result.err
    assert cli("export", "--run", small_run.folder, "--quantize", "none", "--keep-float", "block4_sepconv1").code == 2


def test_explain_int8_shows_where_noise_comes_from_on_any_images(
    small_run: Run, small_bundle: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.quantization.explain.EXPLAIN_IMAGES", 8)
    before = {path.name: path.stat().st_mtime_ns for path in small_bundle.iterdir()}
    data = small_run.folder / "phantoms" / "Normal"
    result = cli("export", "--run", small_run.folder, "--explain-int8", "--data", data, "--json", tmp_path / "x.json")
    assert result.code == 0, result.err
    assert f"8 images of {data}" in " ".join(result.out.split())
    assert "--keep-float" in result.out
    assert {path.name: path.stat().st_mtime_ns for path in small_bundle.iterdir()} == before
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    noise = {row["name"]: 10 ** (-row["snr_db"] / 10) for row in rows}
    groups = [row["name"] for row in rows if row["source"] == "group"]
    tensors = [row["name"] for row in rows if row["source"] == "tensor"]
    # Each part is quieter than everything, and the parts add up, about, to the whole; correlations make it inexact.
    assert all(noise[name] < noise["everything"] for name in [*groups, *tensors])
    assert 0.2 < sum(noise[name] for name in groups) / noise["everything"] < 5
    assert [noise[name] for name in tensors] == sorted((noise[name] for name in tensors), reverse=True)
    assert cli("export", "--run", small_run.folder, "--explain-int8", "--data", tmp_path).code == 2
