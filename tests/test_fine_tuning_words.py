"""How int8's fine-tuning is reported: which step was kept or, if none was, that int8 equals int8-ptq."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_lines
from tests.artifacts import some_artifact
from tests.conftest import Cli
from tests.tiny import write_artifact


def calibration(kept: int | None) -> dict[str, object]:
    step = {} if kept is None else {"kept_step": kept}
    return {"method": "some", "images": 512, "fine_tuning": {"steps": 300, "learning_rate": 0.002, **step}}


@pytest.mark.parametrize(("kept", "phrase"), [(225, "step 225 of 300 kept"), (0, "it equals int8-ptq"), (None, None)])
def test_the_kept_step_is_reported(kept: int | None, phrase: str | None, cli: Cli, tmp_path: Path) -> None:
    artifacts = [
        write_artifact(tmp_path / name, Quantization.INT8, calibration=calibration(kept))
        for name in ("x.tflite", "y.onnx")
    ]
    lines = fine_tuning_lines(artifacts)
    assert len(lines) == (phrase is not None)
    assert all(str(phrase) in line for line in lines)
    assert fine_tuning_lines([some_artifact(tmp_path / "z.onnx", calibration=None)]) == []
    result = cli("inspect", artifacts[0].path)
    assert result.code == 0, result.err
    assert (phrase is not None) == ("fine-tuning" in " ".join(result.out.split()))
