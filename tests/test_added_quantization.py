"""A quantization is added by one line in `artifacts/kinds.py`, which this adds in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cxr_edge.phantoms.drawing import draw_phantom

PROGRAM = """
import sys, types
from pathlib import Path
import cxr_edge.artifacts
from cxr_edge.cli import main

folder = Path(sys.argv[1])
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.exporting.recipe_file import recipe_of
from tests.tiny import write_artifact, write_bundle

added = Quantization("int4")
assert added in recipe_of({"device": "x", "why": "x", "formats": ["onnx"], "quantize": ["int4"]}, "x").quantize
assert added.mixed() is Quantization("mixed4")
write_artifact(folder / "xception-int4.onnx", added)
for arguments in (
    ["predict", "x.png", "--artifact", "xception-int4.onnx", "--json", "predict.json"],
    ["inspect", "xception-int4.onnx", "--json", "inspect.json"],
    ["export", "--quantize", "int5"],
    ["export", "--help"],
):
    sys.argv = ["cxr-edge", *arguments]
    try:
        main()
    except SystemExit:
        pass
"""
ADD = """
import sys, types
import cxr_edge.artifacts
path = cxr_edge.artifacts.__path__[0] + "/kinds.py"
lines = open(path, encoding="utf-8").read().splitlines()
(after,) = (number for number, line in enumerate(lines) if line.startswith("    MIXED_PTQ ="))
lines[after + 1 : after + 1] = [
    '    INT4 = "int4", _Facts(6, _INTEGER, is_integer=True)',
    '    MIXED4 = "mixed4", _Facts(7, _INTEGER, is_integer=True, of="int4")',
]
kinds = sys.modules["cxr_edge.artifacts.kinds"] = types.ModuleType("cxr_edge.artifacts.kinds")
exec(compile("\\n".join(lines), path, "exec"), kinds.__dict__)
"""


@pytest.mark.slow
def test_adding_a_quantization_takes_one_line_and_its_mixed_variant_another(tmp_path: Path) -> None:
    Image.fromarray(draw_phantom("Normal", 0, 80).pixels).save(tmp_path / "x.png")
    command = [sys.executable, "-c", ADD + PROGRAM, str(tmp_path)]
    # Wide, so that help and errors break no line within what is looked for.
    wide = {**os.environ, "TERMINAL_WIDTH": "200", "COLUMNS": "200"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=wide)
    assert result.returncode == 0, result.stderr
    predicted = json.loads((tmp_path / "predict.json").read_text())
    assert predicted["artifact"] == "xception-int4.onnx"
    inspected = json.loads((tmp_path / "inspect.json").read_text())
    assert inspected["claims"] == inspected["metadata"]["quantization"] == "int4"
    assert "'int8-ptq', 'int4'" in result.stderr
    assert "int8-ptq|int4" in result.stdout
