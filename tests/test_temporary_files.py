"""Files in temporary folders are closed before others read them and before they are removed: Windows insists on it."""

from __future__ import annotations

import os
import sys
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.evaluation.accuracy_control import AccuracyControl, AccuracyDemand, Loss, Losses, Release
from cxr_edge.exporting.latency_cost import latency_costs
from cxr_edge.exporting.onnx_float import converted_by_tf2onnx
from cxr_edge.intervals import Interval
from cxr_edge.progress import silently


def is_open(path: str) -> bool:
    """Whether this process has a file open."""
    for descriptor in range(256):
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return True
        except OSError:
            continue
    return False


def test_tf2onnx_reads_a_file_that_nothing_else_has_open(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[bytes, bool]] = []

    def from_tflite(path: str, opset: int) -> tuple[None, None]:
        read.append((Path(path).read_bytes(), is_open(path)))
        return None, None

    stub = SimpleNamespace(convert=SimpleNamespace(from_tflite=from_tflite))
    monkeypatch.setitem(sys.modules, "tf2onnx", stub)  # type: ignore[arg-type]
    converted_by_tf2onnx(b"a model", 17)
    assert read == [(b"a model", False)]


def test_no_session_is_left_when_measured_files_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: weakref.WeakSet[Session] = weakref.WeakSet()
    left: list[int] = []

    class Session:
        def __init__(self) -> None:
            sessions.add(self)

        def run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.ones((1, 3), np.float32)

    class Folder(tempfile.TemporaryDirectory[str]):
        def __exit__(self, *error: Any) -> None:
            left.append(len(sessions))
            super().__exit__(*error)

    def preferred_session(path: Path, kind: ArtifactFormat) -> tuple[str, Session]:
        return "x", Session()

    monkeypatch.setattr("cxr_edge.exporting.latency_cost.SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.benchmarking.latency.WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.exporting.latency_cost.preferred_session", preferred_session)
    monkeypatch.setattr("cxr_edge.exporting.latency_cost.tempfile.TemporaryDirectory", Folder)
    loss = Loss(48, Interval(0.0), 0.0)
    control = AccuracyControl(
        AccuracyDemand(max_drop=1), Losses(loss, loss), Losses(loss, loss), (Release("x", ("a",), 10.0),), 1
    )
    assert len(latency_costs(control, lambda releases: b"x", np.zeros((1, 4, 4, 1), np.uint8), silently)) == 2
    assert left == [0]
