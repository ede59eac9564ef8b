"""No telemetry is sent, and nothing is written to the home folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from cxr_edge import Classifier
from cxr_edge.phantoms.drawing import draw_phantom
for runtime, name in (("onnx", "onnx"), ("litert", "tflite"), ("openvino", "onnx")):
    artifact = sorted(Path(sys.argv[1]).glob("*." + name))[0]
    Classifier.open(artifact, runtime).predict(draw_phantom("Normal", 0, 80).pixels)
# ONNX Runtime opens its queue of events a while later.
time.sleep(3)
"""


@pytest.mark.slow
def test_runtimes_write_nothing_to_the_home_folder_and_open_no_internet_socket(tiny: Path, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine")
    home, calls = tmp_path / "home", tmp_path / "calls"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not re.match("XDG_|CXR_EDGE_|ORT_", name)}
    result = subprocess.run(
        [strace, "-f", "-qq", "-e", "trace=socket", "-o", str(calls), sys.executable, "-c", PROGRAM, str(tiny)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert [path for path in home.rglob("*") if path.is_file() and ".cache/cxr-edge" not in path.as_posix()] == []
    assert "AF_INET" not in calls.read_text()
