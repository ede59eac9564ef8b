"""Runtimes on a GPU, or on SwiftShader, a Vulkan device in software: the numbers of the CPU, the heat map included.

With SwiftShader this says what is computed, and nothing about how fast.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.errors import ArtifactError, ProviderError
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.runtimes.gpus import gpu_nodes
from tests.conftest import Cli
from tests.tflite_files import SAME, VALID, TFLiteBuilder
from tests.tiny import SIZE
from tests.web import write_web_bundle

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
IMAGES = np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 1), dtype=np.uint8)


def _has_loader() -> bool:
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return False
    return True


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not _has_loader(), reason="needs libvulkan.so.1"),
    pytest.mark.skipif(not (gpu_nodes() or SWIFTSHADER.is_file()), reason="needs a GPU, or Debian's Chromium"),
]


@pytest.fixture(autouse=True)
def vulkan_device(monkeypatch: pytest.MonkeyPatch) -> None:
    if not gpu_nodes():
        monkeypatch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))


@pytest.fixture(scope="module")
def bundle_with_heatmaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_web_bundle(tmp_path_factory.mktemp("gpu") / "bundle")


def require(option: str) -> None:
    reason = runtime_named(option).missing()
    if reason is not None:
        pytest.skip(reason)


def assert_as_on_the_cpu(path: Path, option: str, tolerance: float, images: np.ndarray = IMAGES) -> str:
    """Probabilities and heat maps within a tolerance; what it ran on."""
    runtime = runtime_named(option)
    session, cpu = runtime.load(path, 1), runtime_named(runtime.extra).load(path, 1)
    for own, expected in zip(session.explain(images), cpu.explain(images), strict=True):
        scale = max(1.0, float(np.abs(expected).max()))
        assert np.abs(own - expected).max() <= tolerance * scale
    return session.ran_on


def test_onnx_on_webgpu_agrees_with_the_cpu(bundle_with_heatmaps: Path) -> None:
    require("onnx:webgpu")
    ran_on = assert_as_on_the_cpu(bundle_with_heatmaps / "xception-float32.onnx", "onnx:webgpu", 1e-5)
    assert ran_on.startswith("WebGPU on ")
    assert gpu_nodes() or "software, no GPU" in ran_on


def test_litert_on_webgpu_names_its_adapter(tiny: Path) -> None:
    require("litert:gpu")
    path = tiny / "xception-float32.tflite"
    session, cpu = (runtime_named(option).load(path, 1) for option in ("litert:gpu", "litert"))
    assert np.abs(session.run(IMAGES) - cpu.run(IMAGES)).max() < 1e-4
    assert session.ran_on.startswith("WebGPU on ")
    assert gpu_nodes() or "software, no GPU" in session.ran_on


def test_litert_on_webgpu_refuses_int8_which_it_computes_wrong(tiny: Path) -> None:
    require("litert:gpu")
    with pytest.raises(ProviderError, match="take a float32 or fp16 artifact"):
        runtime_named("litert:gpu").load(tiny / "xception-int8.tflite", 1)


#: python -c ON_BOTH MODEL IMAGE ANSWERS PLACES: on the CPU and on the GPU, in a process of its own.
ON_BOTH = """
import sys
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
path, image, answers, places = sys.argv[1:]
shape, results = (int(places), int(places), 4), []
for accelerator in (HardwareAccelerator.CPU, HardwareAccelerator.GPU):
    model = CompiledModel.from_file(path, accelerator)
    assert accelerator == HardwareAccelerator.CPU or model.is_fully_accelerated()
    inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
    inputs[0].write(np.load(image))
    model.run_by_index(0, inputs, outputs)
    results.append(np.asarray(outputs[0].read(int(np.prod(shape)), np.float32)).reshape(shape))
np.save(answers, results)
"""


def convolution(kernel: int, stride: int, padding: int, places: int) -> bytes:
    """float -> int8 -> a convolution in int8 -> float, `[1, 9, 9, 4]` to `[1, places, places, 4]`."""
    random, builder = np.random.default_rng(0), TFLiteBuilder()
    source = builder.tensor([1, 9, 9, 4], "float32", name="input")
    grid = builder.tensor([1, 9, 9, 4], scale=1 / 64, zero_point=-5)
    weights = builder.constant(random.integers(-127, 128, (4, kernel, kernel, 4)), scale=0.007)
    bias = builder.constant(random.integers(-500, 500, 4), "int32", scale=0.007 / 64)
    convolved = builder.tensor([1, places, places, 4], scale=0.03, zero_point=3)
    output = builder.tensor([1, places, places, 4], "float32", name="output")
    builder.operator("QUANTIZE", [source], grid, "QuantizeOptions")
    strides = {"padding": padding, "strideH": stride, "strideW": stride}
    builder.operator("CONV_2D", [grid, weights, bias], convolved, "Conv2DOptions", **strides)
    builder.operator("DEQUANTIZE", [convolved], output, "DequantizeOptions")
    return builder.content([source], [output])


def on_both(folder: Path, kernel: int, stride: int, padding: int, places: int) -> tuple[np.ndarray, np.ndarray]:
    """What LiteRT makes of a convolution on the CPU and on the GPU, `[places, places, 4]` each."""
    paths = [folder / name for name in ("model.tflite", "image.npy", "answers.npy")]
    paths[0].write_bytes(convolution(kernel, stride, padding, places))
    np.save(paths[1], np.random.default_rng(5).uniform(-1, 1, (1, 9, 9, 4)).astype(np.float32))
    subprocess.run([sys.executable, "-c", ON_BOTH, *paths, str(places)], capture_output=True, check=True)
    cpu, gpu = np.load(paths[2])
    return cpu, gpu


def test_litert_on_webgpu_ignores_the_stride_of_pointwise_convolutions_in_int8(tmp_path: Path) -> None:
    """The reason int8 is refused there; if this fails, LiteRT has fixed it."""
    require("litert:gpu")
    cpu, gpu = on_both(tmp_path, 3, 2, VALID, 4)
    assert np.abs(gpu - cpu).max() < 1e-5
    every_place, gpu = on_both(tmp_path, 1, 1, SAME, 9)
    assert np.abs(gpu - every_place).max() < 1e-5
    cpu, gpu = on_both(tmp_path, 1, 2, SAME, 5)
    assert np.abs(cpu - every_place[::2, ::2]).max() < 1e-5
    assert np.abs(gpu - every_place[:5, :5]).max() < 1e-5


def test_bench_names_what_computes_and_counts_its_nodes(bundle_with_heatmaps: Path, cli: Cli, tmp_path: Path) -> None:
    require("onnx:webgpu")
    artifact, target = bundle_with_heatmaps / "xception-float32.onnx", tmp_path / "bench.json"
    result = cli("bench", "--artifact", artifact, "--runtime", "onnx:webgpu", "--quick", "--json", target)
    assert result.code == 0, result.err
    (row,) = json.loads(target.read_text())["rows"]
    assert row["ran_on"].startswith("WebGPU on ")
    assert set(row["nodes_on"]) == {"WebGpuExecutionProvider"}


@pytest.mark.parametrize("quantization", list(Quantization.exportable()))
def test_every_artifact_agrees_with_the_cpu_or_is_refused(bundle: Path, quantization: Quantization) -> None:
    for option, suffix in (("onnx:webgpu", "onnx"), ("litert:gpu", "tflite")):
        require(option)
        path = bundle / f"xception-{quantization}.{suffix}"
        if quantization.is_integer:
            with pytest.raises(ProviderError, match="take a float32"):
                runtime_named(option).load(path, 1)
        elif suffix == "onnx" and quantization.is_half and not gpu_nodes():
            # SwiftShader has no 16-bit arithmetic.
            with pytest.raises(ArtifactError, match="f16"):
                runtime_named(option).load(path, 1)
        else:
            # A whole network takes SwiftShader a quarter of a minute an image.
            assert_as_on_the_cpu(path, option, quantization.tolerance, IMAGES[:1])


def test_without_a_vulkan_device_the_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu_nodes():
        pytest.skip("a GPU is here")
    monkeypatch.setenv("VK_ICD_FILENAMES", os.devnull)
    for option in ("onnx:webgpu", "litert:gpu"):
        assert "Vulkan lists none" in (runtime_named(option).missing() or "")
