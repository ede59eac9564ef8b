"""A runtime is one file; a crash of an accelerator's driver does not harm the process that uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import cxr_edge.runtimes
from cxr_edge import Classifier
from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.part import write_part
from cxr_edge.benchmarking.latency import Candidate, measure
from cxr_edge.benchmarking.startup import StartUp, startup
from cxr_edge.errors import ArtifactError, OptionError, ProviderError
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.reporting.terminal.devices import show_devices
from cxr_edge.runtimes.accelerators import RemoteSession, accelerator_states
from cxr_edge.runtimes.base import Runtime, all_runtimes, every_runtime, runtime_named
from cxr_edge.runtimes.discovery import devices
from cxr_edge.runtimes.gpus import gpu_nodes, webgpu_missing
from cxr_edge.runtimes.litert_runtime import CompiledModelSession, LiteRTSession
from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession
from cxr_edge.runtimes.vulkan import AdapterKind, GPUAdapter
from tests.conftest import Cli
from tests.tiny import SIZE, expected, write_bundle_with_references

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1), dtype=np.uint8)
#: All there is to a runtime, with accelerators that behave as drivers have been seen to.
FILE = """
import atexit, os, time
import numpy as np
from cxr_edge.artifacts.artifact import read_metadata
from cxr_edge.errors import ProviderError
from cxr_edge.runtimes.base import Adapter, Provider, Runtime
from cxr_edge.runtimes.vulkan import AdapterKind, GPUAdapter
from tests.tiny import expected

class Session:
    ran_on = "paper"

    def __init__(self, provider):
        self.provider = provider

    def run(self, images):
        if self.provider == "dies_computing":
            print("free(): invalid pointer", flush=True)
            os.abort()
        time.sleep(0.02 if self.provider == "slow" else 0.0)
        return expected(images)

class OnPaper(Adapter):
    def prepare(self): pass
    def version(self): return "7"
    def missing(self, provider):
        if provider == "dies_asked":
            os.abort()
        return "no such pencil" if provider == "absent" else None
    def gpu(self, provider):
        kinds = {"slow": AdapterKind.DISCRETE, "drawn": AdapterKind.SOFTWARE}
        return GPUAdapter("llvmpipe", kinds[provider]) if provider in kinds else None
    def load(self, path, threads, provider):
        if provider == "drawn" and read_metadata(path).quantization.is_integer:
            raise ProviderError(f"{path}: no integers fit on {path}")
        if provider == "dies_ending":
            atexit.register(os.abort)
        return Session(provider)
    def placement(self, path, threads, provider, image):
        return {"paper": 3, "head": 1}

names = ("slow", "absent", "dies_asked", "dies_computing", "dies_ending", "drawn")
RUNTIME = Runtime("by_hand", "Pencil", package="json", extra="pencil", formats=("tflite",), preference=9,
                  adapter=OnPaper(),
                  accelerators=tuple(Provider(name, name.upper(), f"as {name} as it gets") for name in names))
"""


@pytest.fixture
def pencil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime added as a single file, in this process and in those that it starts."""
    folder = tmp_path / "runtimes"
    folder.mkdir()
    (folder / "pencil_runtime.py").write_text(FILE)
    (folder / "sitecustomize.py").write_text(
        f"import cxr_edge.runtimes\ncxr_edge.runtimes.__path__.append({str(folder)!r})\n"
    )
    root = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{root}")
    monkeypatch.setattr(cxr_edge.runtimes, "__path__", [*cxr_edge.runtimes.__path__, str(folder)])
    all_runtimes.cache_clear()
    yield folder
    all_runtimes.cache_clear()
    sys.modules.pop("cxr_edge.runtimes.pencil_runtime", None)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(IMAGES[0, ..., 0]).save(tmp_path / "x.png")
    return tmp_path / "x.png"


@pytest.fixture
def references(tmp_path: Path) -> Path:
    return write_bundle_with_references(tmp_path / "bundle")


def test_a_runtime_that_cannot_be_imported_is_one_clear_error() -> None:
    runtime = runtime_named("onnx")

    class Broken(type(runtime.adapter)):  # type: ignore[misc]
        def prepare(self) -> None:
            raise ImportError("libstdc++.so.6: cannot open shared object file")

    with pytest.raises(ProviderError, match=r"ONNX Runtime: is installed, but cannot be imported \(libstdc"):
        replace(runtime, adapter=Broken()).prepare()


@pytest.mark.slow
def test_a_runtime_is_added_by_adding_its_file(
    pencil: Path, tiny: Path, picture: Path, cli: Cli, tmp_path: Path
) -> None:
    assert all_runtimes()[-1].title == "Pencil"
    output = tmp_path / "x.json"
    assert cli("devices", "--json", output).code == 0
    rows = {row["option"]: row for row in json.loads(output.read_text())["runtimes"]}
    assert (rows["pencil"]["version"], rows["pencil"]["missing"]) == ("7", None)
    assert rows["pencil:absent"]["missing"] == "no such pencil"
    common = ["--artifact", tiny / "xception-int8.tflite", "--runtime", "pencil"]
    result = cli("bench", "--quick", "--images", picture, *common, "--json", output)
    assert result.code == 0, result.err
    assert [row["id"] for row in json.loads(output.read_text())["rows"]] == ["xception-int8.tflite@pencil"]
    assert cli("predict", picture, *common).code == 0


@pytest.mark.slow
def test_an_artifact_that_an_accelerator_refuses_does_not_stop_the_bench_of_a_bundle(
    pencil: Path, tiny: Path, picture: Path, cli: Cli, tmp_path: Path
) -> None:
    output = tmp_path / "x.json"
    common = ["bench", "--quick", "--images", picture, "--runtime", "pencil:drawn", "--json", output]
    result = cli(*common, "--bundle", tiny, "--threads", "1,2")
    assert result.code == 0, result.err
    record = json.loads(output.read_text())
    assert {row["id"] for row in record["rows"]} == {"xception-float32.tflite@pencil:drawn"}
    warnings = [row["text"] for row in record["warnings"] if row["subject"] == "xception-int8.tflite@pencil:drawn"]
    assert warnings == [
        "xception-int8.tflite@pencil:drawn is not in the table: no integers fit on xception-int8.tflite"
    ]
    assert warnings[0] in " ".join(result.out.split())
    # Named by itself it is an error, and so is a bundle of which nothing is left.
    alone = tmp_path / "alone"
    write_part([read_artifact(tiny / "xception-int8.tflite")], alone)
    for arguments in (("--artifact", tiny / "xception-int8.tflite"), ("--bundle", alone)):
        result = cli(*common, *arguments)
        assert result.code == 2
        assert "no integers fit" in result.err


def test_a_software_adapter_is_not_a_gpu(
    pencil: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Without those that crash the process which asks for them.
    (base,) = (runtime for runtime in all_runtimes() if runtime.name == "by_hand")
    well_behaved = tuple(provider for provider in base.accelerators if provider.name in ("slow", "drawn"))
    monkeypatch.setattr("cxr_edge.runtimes.discovery.all_runtimes", lambda: [replace(base, accelerators=well_behaved)])
    listed = devices()
    rows = {row.option: row for row in listed.runtimes}
    assert (rows["pencil:slow"].gpu, rows["pencil:slow"].in_software) == ("llvmpipe", False)
    assert (rows["pencil:drawn"].gpu, rows["pencil:drawn"].in_software) == ("llvmpipe", True)
    show_devices(listed)
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if "pencil:drawn" in line)
    assert "software only: " in line
    assert "ready" not in line
    assert any("pencil:slow" in line and "ready: llvmpipe" in line for line in lines)
    path = tiny / "xception-float32.tflite"
    assert runtime_named("pencil:drawn").load(path, 1).in_software()  # type: ignore[attr-defined]
    assert not runtime_named("pencil:slow").load(path, 1).in_software()  # type: ignore[attr-defined]


def test_inspect_shows_how_accelerators_handle_int8(pencil: Path, tiny: Path, cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "x.json"
    result = cli("inspect", tiny / "xception-int8.tflite", "--json", output)
    assert result.code == 0, result.err
    notes = json.loads(output.read_text())["int8_on"]
    assert notes["pencil:slow"] == "as slow as it gets"
    assert notes["litert:gpu"].startswith("refused")
    assert not any(option.startswith("onnx") for option in notes)
    assert "int8 on pencil:slow" in result.out
    assert cli("inspect", tiny / "xception-float32.tflite", "--json", output).code == 0
    assert json.loads(output.read_text())["int8_on"] == {}


@pytest.mark.parametrize("option", ["onnx:webgpu", "onnx:cuda", "onnx:tensorrt", "litert:gpu", "openvino:gpu"])
def test_every_gpu_provider_describes_how_it_handles_int8(option: str) -> None:
    assert runtime_named(option).int8


@pytest.mark.slow
def test_a_driver_that_crashes_is_reported_and_the_others_are_still_queried(pencil: Path) -> None:
    states = accelerator_states([runtime for runtime in every_runtime() if runtime.name == "by_hand"][1:])
    assert states["pencil:slow"].missing is None
    assert "killed by signal 6" in str(states["pencil:dies_asked"].missing)
    assert states["pencil:dies_computing"].missing is None


def test_an_accelerator_computes_in_a_process_of_its_own(pencil: Path, tiny: Path) -> None:
    session = runtime_named("pencil:slow").load(tiny / "xception-int8.tflite", 1)
    assert isinstance(session, RemoteSession)
    assert np.array_equal(session.run(IMAGES), expected(IMAGES))
    assert session.ran_on == "paper"
    candidate = Candidate("x", "Pencil", session, 0.0)
    measure([candidate], IMAGES, queries=5, seconds=0.0)
    # The inference, without the way to the other process.
    assert candidate.figures().p50_ms >= 20


@pytest.mark.slow
def test_a_driver_crash_during_inference_is_reported(pencil: Path, tiny: Path) -> None:
    session = runtime_named("pencil:dies_computing").load(tiny / "xception-int8.tflite", 1)
    with pytest.raises(ProviderError, match=r"signal 6.*free\(\): invalid pointer"):
        session.run(IMAGES)
    with pytest.raises(ProviderError, match="no such pencil"):
        runtime_named("pencil:absent").load(tiny / "xception-int8.tflite", 1)


@pytest.mark.slow
def test_a_driver_crash_at_exit_loses_no_result(pencil: Path, tiny: Path, picture: Path, tmp_path: Path) -> None:
    path, output = tiny / "xception-int8.tflite", tmp_path / "x.json"
    program = [
        "bench",
        "--quick",
        "--images",
        picture,
        "--artifact",
        path,
        "--runtime",
        "pencil:dies_ending",
        "--json",
        output,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "cxr_edge", *map(str, program)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(output.read_text())["rows"]
    assert (row["ran_on"], row["nodes_on"]) == ("paper", {"paper": 3, "head": 1})
    assert isinstance(startup(path, "pencil:dies_ending", 1, picture, 1), StartUp)


def test_a_file_that_litert_cannot_load_is_named(tmp_path: Path, pencil: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"x\.tflite"):
        runtime_named("litert").load(tmp_path / "x.tflite", 1)


@pytest.mark.slow
@pytest.mark.parametrize(("option", "name"), [("cuda", "onnxruntime-gpu"), ("coreml", "macOS"), ("xnnpack", "Android")])
def test_a_missing_provider_is_an_error_that_names_the_fix(
    tiny: Path, picture: Path, cli: Cli, option: str, name: str
) -> None:
    if runtime_named(f"onnx:{option}").missing() is None:
        pytest.skip(f"{option} is here")
    for command in (["bench", "--quick"], ["predict", picture]):
        result = cli(*command, "--bundle", tiny, "--runtime", f"onnx:{option}")
        assert result.code == 2
        assert name in result.err
        assert f"onnx:{option}" in result.err
    assert cli("bench", "--bundle", tiny, "--runtime", "onnx:nonsense").code == 2


def test_a_provider_that_falls_back_to_the_cpu_is_an_error(tiny: Path) -> None:
    # What a build with CUDA does where CUDA's libraries are missing: it is listed, and the session is on the CPU.
    with pytest.raises((ProviderError, ValueError), match="CUDA"):
        ONNXRuntimeSession(tiny / "xception-float32.onnx", 1, "cuda")


def test_the_compiled_model_agrees_with_the_interpreter(tiny: Path) -> None:
    path = tiny / "xception-float32.tflite"
    assert np.abs(LiteRTSession(path, 2).run(IMAGES) - CompiledModelSession(path, "CPU").run(IMAGES)).max() < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(bool(gpu_nodes()), reason="a GPU is visible here, so it may start")
def test_a_gpu_that_does_not_start_is_an_error_and_the_process_survives(tiny: Path) -> None:
    # Without the check for an adapter: with a Vulkan driver and no GPU, the attempt crashes its process at exit.
    code = f"""
from pathlib import Path
from cxr_edge.errors import ProviderError
from cxr_edge.runtimes import litert_runtime
try:
    litert_runtime.CompiledModelSession(Path({str(tiny / "xception-float32.tflite")!r}), "GPU")
except ProviderError as error:
    print(error, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "GPU accelerator did not come up" in done.stdout
    # Without a driver there is nothing to try; one in software is listed, and may be refused.
    with pytest.raises(ProviderError, match=r"litert:gpu|GPU accelerator did not come up"):
        runtime_named("litert:gpu").load(tiny / "xception-float32.tflite", 1)


@pytest.mark.slow
def test_a_process_with_tensorflow_exits_cleanly_after_a_gpu_was_tried(tiny: Path) -> None:
    """With a Vulkan driver, even one in software, it would end in `free(): invalid pointer` if it had tried itself."""
    pytest.importorskip("tensorflow")
    # The other process passes over the look for an adapter.
    server = (
        "from cxr_edge.runtimes import accelerators, litert_runtime; "
        "litert_runtime.webgpu_missing = lambda: None; accelerators.serve()"
    )
    code = f"""
import sys
from pathlib import Path
import tensorflow
from cxr_edge.errors import ProviderError
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import runtime_named
try:
    RemoteSession(runtime_named("litert:gpu"), Path({str(tiny / "xception-float32.tflite")!r}), 1,
                  [sys.executable, "-c", {server!r}])
    print("came up", flush=True)
except ProviderError as error:
    print(error, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "GPU accelerator did not come up" in done.stdout or "came up" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends itself no interrupt")
@pytest.mark.parametrize("runtime", sorted({runtime.name for runtime in every_runtime()}))
def test_an_interrupt_after_sessions_were_closed_is_no_crash(tiny: Path, runtime: str) -> None:
    if not (selected := runtime_named(runtime)).installed():
        pytest.skip(f"pip install 'cxr-edge[{selected.extra}]'")
    artifact = tiny / f"xception-int8.{selected.formats[0]}"
    code = f"""if True:
        import signal
        from pathlib import Path
        from cxr_edge.runtimes.base import runtime_named

        signal.signal(signal.SIGINT, signal.default_int_handler)
        first, second = (runtime_named({runtime!r}).load(Path({str(artifact)!r}), 1) for _ in range(2))
        del first
        del second
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "interrupted\n"), result.stderr


def test_every_node_is_accounted_for(tiny: Path) -> None:
    adapter = runtime_named("onnx").adapter
    assert adapter.placement(tiny / "xception-int8.onnx", 1, "cpu", IMAGES[:1]) == {"CPUExecutionProvider": 4}


def test_devices_lists_available_and_missing_runtimes(cli: Cli, tmp_path: Path) -> None:
    result = cli("devices", "--json", tmp_path / "x.json")
    assert result.code == 0
    rows = {row["option"]: row for row in json.loads((tmp_path / "x.json").read_text())["runtimes"]}
    assert set(rows) == {runtime.option for runtime in every_runtime()}
    assert rows["litert"]["missing"] is None
    assert rows["onnx"]["missing"] is None
    assert rows["onnx"]["version"]
    for row in rows.values():
        assert row["missing"] is None or len(row["missing"]) > 20


def test_devices_names_the_extra_that_brings_a_runtime(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "installed", lambda self: self.name == "litert")
    result = cli("devices")
    assert result.code == 0
    assert "cxr-edge[onnx]" in "".join(result.out.split())


@pytest.mark.parametrize("threads", [-1, 0, 100_000])
@pytest.mark.parametrize(("runtime", "kind"), [("litert", "tflite"), ("onnx", "onnx")])
def test_thread_counts_that_crash_a_runtime_are_refused(tiny: Path, runtime: str, kind: str, threads: int) -> None:
    with pytest.raises(OptionError, match=f"--threads {threads}: must be from 1 to"):
        runtime_named(runtime).load(tiny / f"xception-int8.{kind}", threads)


@pytest.mark.parametrize("threads", [0, 10**6])
def test_impossible_threads_are_refused_before_a_runtime_is_selected(references: Path, threads: int) -> None:
    with pytest.raises(OptionError, match=f"--threads {threads}: must be from 1 to"):
        Classifier.open(references, threads=threads)


def test_predict_refuses_impossible_threads_as_bad_usage(references: Path, picture: Path, cli: Cli) -> None:
    result = cli("predict", picture, "--bundle", references, "--threads", 1000)
    assert result.code == 2
    assert "--threads 1000: must be from 1 to" in result.err


@pytest.mark.slow
def test_a_remembered_accelerator_that_is_gone_is_not_selected_again(
    pencil: Path, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    accelerator = runtime_named("pencil:absent")
    monkeypatch.setattr("cxr_edge.prediction.fastest.every_runtime", lambda: [runtime_named("litert"), accelerator])
    assert Classifier.open(references).runtime.option == "litert"
    (remembered,) = (tmp_path / "cache").glob("fastest-*.json")
    measured = json.loads(remembered.read_text())
    # As it was written before the accelerator was gone.
    remembered.write_text(json.dumps({**measured, "runtime": accelerator.option}))
    classifier = Classifier.open(references)
    assert classifier.runtime.option == "litert"
    assert classifier.selection_note is not None and "using the fastest of" in classifier.selection_note
    assert json.loads(remembered.read_text())["runtime"] == "litert"
    assert Classifier.open(references).selection_note is None


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS always has a GPU, and no Vulkan")
def test_only_the_software_adapter_that_webgpu_refuses_is_reported_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = GPUAdapter("llvmpipe (LLVM 15.0.6, 256 bits)", AdapterKind.SOFTWARE)
    monkeypatch.setattr("cxr_edge.runtimes.vulkan.adapters", lambda: (listed,))
    reason = webgpu_missing()
    assert reason is not None
    assert "only llvmpipe (LLVM 15.0.6, 256 bits) (software, no GPU)" in reason
    assert "VK_ICD_FILENAMES" in reason
    listed = GPUAdapter("SwiftShader Device (LLVM 10.0.0)", AdapterKind.SOFTWARE)
    assert webgpu_missing() is None


def test_a_runtime_that_fails_on_an_image_is_an_error_of_the_artifact() -> None:
    class Failing:
        def run(self, images: np.ndarray) -> np.ndarray:
            raise RuntimeError("node 3 failed\nand more")

    with pytest.raises(ArtifactError, match=r"x.onnx: fails on an image \(node 3 failed\)"):
        score_images(Failing(), np.zeros((1, SIZE, SIZE, 1), np.uint8), name="x.onnx")


def test_white_images_and_large_kernels_do_not_saturate_on_this_processor(tmp_path: Path) -> None:
    """Without VNNI, ONNX Runtime by default arrives at 56 in place of 100."""
    constants = {
        "scale": np.float32(1),
        "image_zero": np.uint8(0),
        "kernel": np.full((8, 1, 3, 3), 127, np.int8),
        "kernel_scale": np.ones(8, np.float32),
        "kernel_zero": np.zeros(8, np.int8),
        "sum_scale": np.float32(9 * 255 * 127 / 100),
    }
    quantized = [("image", "scale", "image_zero"), ("kernel", "kernel_scale", "kernel_zero")]
    inputs = [name for tensor in [*quantized, ("sum_scale", "image_zero")] for name in tensor]
    nodes = [
        helper.make_node("QLinearConv", inputs, ["sums"]),
        helper.make_node("Cast", ["sums"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 1, 9, 9])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "convolution.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    sums = ONNXRuntimeSession(path, 1).run(np.full((1, 1, 9, 9), 255, np.uint8))
    assert np.unique(sums).tolist() == [100]
