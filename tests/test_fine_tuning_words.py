"""How int8's fine-tuning is reported: which step was kept or, if none was, that int8 equals int8-ptq."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_lines
from tests.artifacts import some_artifact
from tests.conftest import Cli
from tests.tiny import write_artifact


def calibration(kept: int | None, steps: int) -> dict[str, object]:
    step = {} if kept is None else {"kept_step": kept}
    tuned = {"steps": steps, "learning_rate": 0.002, "calibrated_signal_to_noise_db": 27.25, **step}
    return {"method": "some", "images": 512, "fine_tuning": tuned}


@pytest.mark.parametrize(
    ("steps", "kept", "phrase"),
    [
        (300, 225, "step 225 of 300 kept"),
        (300, 0, "none of 300 fine-tuning steps brought it closer"),
        (0, 0, "calibration alone is close to the float model (at least 27.2 dB"),
        (300, None, None),
    ],
)
def test_the_outcome_is_reported(steps: int, kept: int | None, phrase: str | None, cli: Cli, tmp_path: Path) -> None:
    artifacts = [
        write_artifact(tmp_path / name, Quantization.INT8, calibration=calibration(kept, steps))
        for name in ("x.tflite", "y.onnx")
    ]
    lines = fine_tuning_lines(artifacts)
    assert len(lines) == (phrase is not None)
    assert all(str(phrase) in line for line in lines)
    assert fine_tuning_lines([some_artifact(tmp_path / "z.onnx", calibration=None)]) == []
    result = cli("inspect", artifacts[0].path)
    assert result.code == 0, result.err
    assert (phrase is not None) == ("fine-tun" in " ".join(result.out.split()))
    assert (phrase or "") in " ".join(result.out.split())
