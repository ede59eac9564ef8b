"""The examples run unmodified and agree with `cxr-edge predict`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge.runs import Run
from tests.conftest import Cli

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(("script", "artifact"), [("onnx", "xception-int8.onnx"), ("tflite", "xception-int8.tflite")])
def test_example_equals_predict(run: Run, bundle: Path, cli: Cli, tmp_path: Path, script: str, artifact: str) -> None:
    pictures = [sorted(folder.iterdir())[0] for folder in sorted((run.folder / "phantoms").iterdir())]
    command = [sys.executable, EXAMPLES / f"classify_{script}.py", bundle / artifact, *pictures]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    runtime = {"onnx": "onnx", "tflite": "litert"}[script]
    arguments = ["--artifact", bundle / artifact, "--runtime", runtime, "--json", tmp_path / "x.json"]
    assert cli("predict", *pictures, *arguments).code == 0
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert len(lines) == len(rows) == 3
    for line, row in zip(lines, rows, strict=True):
        path, label, *probabilities = line.split("\t")
        assert (path, label) == (row["file"], row["label"])
        assert [float(value) for value in probabilities] == pytest.approx(row["probabilities"], abs=1e-3)
