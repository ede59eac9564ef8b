"""The peers' files: each is made once, by its tool, and kept.

    python -m benchmarks.peers.build RUN NAME FILE

makes one of them, as `build_peers` does in a separate process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from benchmarks.peers import conversions
from benchmarks.peers.conversions import Source
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.console import working
from cxr_edge.files import replacing, write_json
from cxr_edge.records import JsonObject
from cxr_edge.runs import Run


@dataclass(frozen=True)
class Peer:
    """A file by another tool, and how to make it."""

    name: str
    title: str
    #: The `name` of a `cxr_edge.runtimes.base.Runtime`.
    runtime: str
    #: Quantization and format of the artifact it is made from, or that holds the same weights.
    source: tuple[str, str]
    #: Distributions whose versions decide what the file is.
    packages: tuple[str, ...]
    build: Callable[[Source, Path], None]
    #: Of the files it consists of; the last is the one that a runtime is given.
    suffixes: tuple[str, ...]
    #: A command with an environment of its own, which has the distributions; empty for this environment.
    command: str = ""

    def path(self, work: Path) -> Path:
        return work / f"{self.name}{self.suffixes[-1]}"


_ONNX, _TFLITE, _OPENVINO = (".onnx",), (".tflite",), (".bin", ".xml")
_FLOAT_ONNX, _FLOAT_TFLITE, _INT8_TFLITE = ("float32", "onnx"), ("float32", "tflite"), ("int8", "tflite")
PEERS = (
    Peer(
        "tf2onnx_keras", "tf2onnx.from_keras QAT", "onnx_runtime", _INT8_TFLITE,
        ("tf2onnx", "tensorflow", "tensorflow-model-optimization"), conversions.tf2onnx_keras, _ONNX,
    ),
    Peer(
        "tf2onnx_tflite", "tf2onnx.from_tflite", "onnx_runtime", _INT8_TFLITE,
        ("tf2onnx",), conversions.tf2onnx_tflite, _ONNX,
    ),
    Peer(
        "quantize_static", "quantize_static", "onnx_runtime", _FLOAT_ONNX,
        ("onnxruntime", "onnx"), conversions.quantize_static_defaults, _ONNX,
    ),
    Peer(
        "quantize_static_tuned", "quantize_static, tuned", "onnx_runtime", _FLOAT_ONNX,
        ("onnxruntime", "onnx"), conversions.quantize_static_tuned, _ONNX,
    ),
    Peer(
        "tflite_converter", "TFLite converter", "litert", _FLOAT_TFLITE,
        ("tensorflow",), conversions.tflite_converter, _TFLITE,
    ),
    Peer(
        "litert_quantizer", "litert-quantizer", "litert", _FLOAT_TFLITE,
        ("litert-quantizer",), conversions.litert_quantizer, _TFLITE,
    ),
    # It pins an older LiteRT than this project's: pipx install 'litert-cli[quantize]'.
    Peer(
        "litert_command", "litert quantize", "litert", _FLOAT_TFLITE,
        ("litert-cli", "ai-edge-quantizer"), conversions.litert_command, _TFLITE, "litert",
    ),
    Peer(
        "nncf_onnx", "NNCF, from ONNX", "openvino_runtime", _FLOAT_ONNX,
        ("nncf", "openvino"), conversions.nncf_from("onnx"), _OPENVINO,
    ),
    Peer(
        "nncf_tflite", "NNCF, from TFLite", "openvino_runtime", _FLOAT_TFLITE,
        ("nncf", "openvino"), conversions.nncf_from("tflite"), _OPENVINO,
    ),
)  # fmt: skip


def _key(peer: Peer, artifacts: list[Artifact]) -> JsonObject:
    """What decides the peer's file. Raises RuntimeError for a package or an artifact that is missing."""
    made_from = [artifact for artifact in artifacts if (artifact.quantization, artifact.format) == peer.source]
    if not made_from:
        raise RuntimeError("the bundle lacks xception-{}.{}: export it".format(*peer.source))
    return {"source_sha256": made_from[0].sha256, "packages": versions_of(peer)}


def versions_of(peer: Peer) -> dict[str, str]:
    """Of the distributions that make the peer's file. Raises RuntimeError for one that is missing."""
    if peer.command:
        return _versions_elsewhere(peer)
    try:
        return {package: metadata.version(package) for package in peer.packages}
    except metadata.PackageNotFoundError as missing:
        raise RuntimeError(f"{missing.name} is not installed here: pip install 'cxr-edge[peers]'") from None


_ASK = "import json, sys; from importlib.metadata import version; print(json.dumps([version(n) for n in sys.argv[1:]]))"


def _versions_elsewhere(peer: Peer) -> dict[str, str]:
    """From the interpreter beside the command, whose environment it is."""
    program = shutil.which(peer.command)
    if program is None:
        raise RuntimeError(f"{peer.command} is not on the PATH: pipx install 'litert-cli[quantize]'")
    asked = [Path(program).resolve().with_name("python"), "-c", _ASK, *peer.packages]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise RuntimeError(f"{program}: {', '.join(peer.packages)} are not installed beside it") from None
    return dict(zip(peer.packages, json.loads(answer), strict=True))


def build_peers(run: Run, work: Path) -> dict[str, str]:
    """Make the files that are not in the work folder yet, or were made from something else.

    Each in a separate process, so that a tool that crashes or runs out of memory takes nothing else with it; what it
    printed is in `NAME.log`.

    Returns:
        Why a peer has no file, by its name; empty when all have one.
    """
    work.mkdir(parents=True, exist_ok=True)
    artifacts = read_bundle(run.bundle)
    reasons = {}
    for peer in PEERS:
        note = work / f"{peer.name}.json"
        try:
            key = _key(peer, artifacts)
        except RuntimeError as error:
            reasons[peer.name] = str(error)
            continue
        if peer.path(work).is_file() and note.is_file() and json.loads(note.read_text(encoding="utf-8")) == key:
            continue
        log = work / f"{peer.name}.log"
        with tempfile.TemporaryDirectory(dir=work, prefix=".building-") as folder:
            output = peer.path(Path(folder))
            command = [sys.executable, "-m", "benchmarks.peers.build", str(run.folder), peer.name, str(output)]
            with working(f"building {peer.title}"), log.open("w", encoding="utf-8") as file:
                status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
            if status:
                reasons[peer.name] = f"its conversion failed: {_last_words(status, log)} (see {log.name})"
                continue
            for suffix in peer.suffixes:
                with replacing(work / f"{peer.name}{suffix}") as temporary:
                    output.with_suffix(suffix).replace(temporary)
        write_json(note, key)
    return reasons


def _last_words(status: int, log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"killed by signal {-status}" if status < 0 else (lines or [f"exit status {status}"])[-1][:200]


def main() -> None:
    run, name, path = Run(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
    next(peer for peer in PEERS if peer.name == name).build(Source(run), path)


if __name__ == "__main__":
    main()
