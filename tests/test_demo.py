"""How the demo combines the results of its steps; the steps have tests of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_edge.benchmarking.record import read_record
from cxr_edge.errors import GateError
from cxr_edge.runs import Run
from cxr_edge.runs.history import History
from cxr_edge.training.result import TrainingResult
from tests.artifacts import OLD
from tests.conftest import Cli
from tests.tiny_runs import write_run


def refuse(*others: object) -> None:
    raise GateError("parity failed: xception-int8.tflite")


@pytest.fixture
def quick_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training leaves a tiny run with its bundle, measuring takes no time, and what needs a model draws nothing."""
    trained = write_run(tmp_path / "trained")

    def train(run: Run, *others: object) -> TrainingResult:
        shutil.copytree(trained.folder, run.folder)
        # Its images have to have a folder, and are not looked at.
        record = json.loads(run.config_file.read_text())
        record["options"]["data"] = str(tmp_path)
        run.config_file.write_text(json.dumps(record))
        return TrainingResult(run, None, History(()))  # type: ignore[arg-type]

    def draw(classifier: object, images: object, heatmap: Path) -> Iterator[None]:
        heatmap.write_bytes(b"a picture")
        yield None

    monkeypatch.setattr("cxr_edge.training.jobs.train_new", train)
    monkeypatch.setattr("cxr_edge.cli.demo.export_and_show", lambda *others: None)
    monkeypatch.setattr("cxr_edge.benchmarking.bench.bench", lambda *others: read_record(OLD / "bench.json"))
    monkeypatch.setattr("cxr_edge.prediction.predict.predict_files", draw)
    monkeypatch.setattr("cxr_edge.cli.demo.write_report", lambda bundle: print(f"report on {bundle}"))


@pytest.mark.usefixtures("quick_steps")
@pytest.mark.parametrize("passes", [True, False])
def test_a_failed_gate_is_the_exit_status_and_hides_nothing(
    passes: bool, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not passes:
        monkeypatch.setattr("cxr_edge.cli.demo.export_and_show", refuse)
    folder = tmp_path / "demo"
    outcome = cli("demo", "--run", folder)
    shown = [
        outcome.out.find(text)
        for text in (
            "Demo on phantoms",
            "heat map: ",
            f"report on {folder / 'bundle'}",
            "next: cxr-edge train --data DIR",
        )
    ]
    assert -1 not in shown and shown == sorted(shown), outcome.err
    assert Run(folder).bench_file.is_file() and (folder / "heatmap.png").is_file()
    assert (folder / "bundle/MODEL_CARD.md").is_file()
    if passes:
        assert (outcome.code, outcome.err) == (0, "")
    else:
        assert outcome.code == GateError.exit_code
        assert outcome.err.splitlines()[-1].startswith("error: parity failed: xception-int8.tflite")
