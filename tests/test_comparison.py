"""`report` on several runs: accuracy against latency, of artifacts that were measured on one machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.evaluation.verified_artifact import recorded
from cxr_edge.files import write_json
from cxr_edge.runs import Run
from tests.conftest import Cli
from tests.tiny_runs import write_bench, write_run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    large, small = write_run(tmp_path / "large"), write_run(tmp_path / "small")
    write_bench(large)
    write_bench(small, p50_ms=1.25)
    return large, small


def compared(cli: Cli, runs: tuple[Run, Run], output: Path, *options: object) -> tuple[int, str]:
    result = cli("report", "--run", runs[0].folder, "--run", runs[1].folder, "--output", output, *options)
    return result.code, result.out + result.err


def test_the_page_has_each_run_with_accuracy_and_latency(runs: tuple[Run, Run], cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    code, printed = compared(cli, runs, page)
    assert code == 0, printed
    text = page.read_text()
    assert text.count("<svg") == 1 and "http-equiv" not in text and "<script" not in text
    parity = recorded(read_bundle(runs[0].bundle)[0]).parity
    accuracy = parity.intervals.accuracy
    assert accuracy.low is not None and accuracy.high is not None
    for p50 in ("1.25", "5.20"):
        assert f"<td>{p50}</td>" in text
    assert text.count(f"{100 * parity.accuracy:.1f} % ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f})") == 2
    # The record of both was made on a busy machine.
    assert printed.count("the machine was noisy") == 2


def test_what_cannot_be_compared_is_refused(runs: tuple[Run, Run], cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    record = json.loads(runs[1].bench_file.read_text())
    record["machine"]["cpu"] = "another"
    write_json(runs[1].bench_file, record)
    code, printed = compared(cli, runs, page)
    assert code == 2 and "machines cannot be compared" in printed
    record["rows"] = record["rows"][1:]
    write_json(runs[1].bench_file, {**record, "rows": [{**row, "winner": True} for row in record["rows"]]})
    code, printed = compared(cli, runs, page)
    assert code == 2 and "benched before its artifacts were exported" in printed
    runs[1].bench_file.unlink()
    code, printed = compared(cli, runs, page)
    assert code == 2 and f"cxr-edge bench --run {runs[1].folder}" in printed
    code, printed = compared(cli, runs, page, "--with-images")
    assert code == 2 and "single run" in printed
    assert not page.exists()
