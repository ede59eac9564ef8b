"""int8 that needed no fine-tuning is int8-ptq: converted and verified once, but an artifact of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.runs import Run
from tests.conftest import ANY_GATE, Cli, plain_rounding


def test_it_is_converted_and_verified_once(
    small_run: Run, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(small_run.folder, run.folder, ignore=shutil.ignore_patterns("bundle*", "quantized"))
    monkeypatch.setattr("cxr_edge.quantization.fine_tune.CLOSE_DB", 0.0)
    with plain_rounding():
        result = cli("export", "--run", run.folder, "--quantize", "int8", "--quantize", "int8-ptq", *ANY_GATE)
    assert result.code == 0, result.err
    for stage in ("to TFLite: ", "verifying xception-int8.tflite: ", "verifying xception-int8.onnx: "):
        assert result.err.count(stage) == 1, result.err
    assert "verifying xception-int8-ptq" not in result.err
    artifacts = {(artifact.quantization, artifact.format): artifact for artifact in read_bundle(run.bundle)}
    assert len(artifacts) == 4
    for format in ArtifactFormat:
        tuned, calibrated = (artifacts[each, format] for each in (Quantization.INT8, Quantization.INT8_PTQ))
        assert tuned.parity == calibrated.parity
        assert tuned.metadata.reference_outputs == calibrated.metadata.reference_outputs
        assert (tuned.metadata.calibration or {})["fine_tuning"]["steps"] == 0
        assert "fine_tuning" not in (calibrated.metadata.calibration or {})
    assert constants(artifacts[Quantization.INT8, ArtifactFormat.TFLITE]) == constants(
        artifacts[Quantization.INT8_PTQ, ArtifactFormat.TFLITE]
    )


def constants(artifact: Artifact) -> list[bytes]:
    """The bytes of every constant of a TFLite file."""
    tensors = read_tflite(artifact.path.read_bytes()).tensors
    return [tensor.data.tobytes() for tensor in tensors if tensor.data is not None]
