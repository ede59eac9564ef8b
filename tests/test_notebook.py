"""The notebook among the examples runs from its first cell to its last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from cxr_edge.runs import Run
from tests.conftest import plain_rounding

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"
CELLS = [
    "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    if cell["cell_type"] == "code"
]


def test_every_cell_is_python() -> None:
    for index, source in enumerate(CELLS):
        compile(source, f"cell {index}", "exec")


def test_the_notebook_exports_the_same_integers_as_the_command(
    small_run: Run,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    shutil.copytree(small_run.folder, tmp_path / "runs" / "quickstart", ignore=shutil.ignore_patterns("bundle*"))
    names: dict[str, Any] = {}
    with plain_rounding():
        for source in CELLS:
            exec(source, names)
    out = capfd.readouterr().out
    assert "xception-int8-ptq.tflite" in out
    assert "passed" in out
    # Only the graphs: the metadata records a different gate.
    again, before = (
        onnx.load(folder / "xception-int8-ptq.onnx") for folder in (tmp_path / "runs/quickstart/bundle", small_bundle)
    )
    assert again.graph.SerializeToString() == before.graph.SerializeToString()
    assert all(prediction.heatmap is not None for prediction in names["predictions"])
