"""The report: one page, nothing loaded from anywhere, and every figure of the run in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.benchmarking.record import read_record
from cxr_edge.cli.report import write_report
from cxr_edge.console import stage
from cxr_edge.data.split import Split, SplitItem
from cxr_edge.evaluation.advice import advise
from cxr_edge.evaluation.calibration import CalibrationError
from cxr_edge.evaluation.conditions import Condition, Scope
from cxr_edge.evaluation.operating import OperatingPoint
from cxr_edge.exporting.verify import Reference, ScoredBundle, compare_bundle, score_bundle
from cxr_edge.records import to_json
from cxr_edge.reporting.html.report import render
from cxr_edge.reporting.terminal.operating import show_calibration
from cxr_edge.runs import Run
from cxr_edge.runs.config import Student
from tests.artifacts import OLD
from tests.tiny_runs import LABELS, write_bench, write_int8, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def scored_without_a_model(run: Run, right: int, wrong: int) -> ScoredBundle:
    """A run's artifacts with made-up answers: all COVID-19 images are called, and `wrong` of the others are as well.

    `right` COVID-19 images, and 231 of another class.
    """
    shutil.copyfile(OLD / "history.json", run.history_file)
    items = tuple(
        SplitItem(f"{label}/{index}.png", label, "test", "", "0" * 64)
        for label, images in ((LABELS[0], right), (LABELS[2], 231))
        for index in range(images)
    )
    answers = np.full((len(items), 3), 0.02, np.float32)
    answers[: right + wrong, 0] = answers[right + wrong :, 2] = 0.96
    condition = Condition("test", None, np.zeros((len(items), 1, 1, 1), np.uint8), np.arange(len(items)))
    reference = Reference(Split(Path(), LABELS, items), Scope.of_labels(), 1.0, (condition,), (answers,))
    return ScoredBundle(run, reference, tuple((artifact, "LiteRT", (answers,)) for artifact in read_bundle(run.bundle)))


def test_no_bound_of_a_decision_rule_is_rounded_in_its_favour(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", operating_point=to_json(OperatingPoint("COVID-19", 0.1, 0.5)))
    scored = scored_without_a_model(run, right=58, wrong=1)
    text = render(scored, compare_bundle(scored, {}), None, None, with_images=False)
    # 94.97 and 2.04.
    assert ("at least 94.9<" in text, "at most 2.1<" in text) == (True, True)


def test_latencies_of_other_files_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    write_bench(run)
    monkeypatch.setattr("cxr_edge.exporting.verify.score_bundle", lambda *_: scored_without_a_model(run, 58, 1))
    write_report(run.bundle)
    # Its other rows are from before records had hashes.
    assert "measured on other files" not in capsys.readouterr().out
    page = (run.folder / "report.html").read_text()
    assert "p50 ms" in page and "Not measured on these files" not in page
    write_int8(run.bundle, temperature=2.0)
    write_report(run.bundle)
    assert "bench.json: measured on other files than the bundle's" in capsys.readouterr().out
    page = (run.folder / "report.html").read_text()
    assert "p50 ms" not in page and "Not measured on these files" in page


def test_a_thread_sweep_of_another_machine_and_two_decision_rules_are_told_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", operating_point=to_json(OperatingPoint("COVID-19", 0.1, 0.5)))
    rule = to_json(OperatingPoint("Normal", 0.1, 0.5))
    first, second = read_bundle(run.bundle)
    other = replace(second, metadata=replace(second.metadata, operating_point=rule))
    scored = scored_without_a_model(run, 58, 1)
    answers = scored.artifacts[0][2]
    scored = replace(scored, artifacts=((first, "LiteRT", answers), (other, "LiteRT", answers)))
    write_bench(run)
    bench = read_record(run.bench_file)
    row = bench.rows[0]
    machine = replace(bench.machine, cpu="a CPU of elsewhere")
    bench = replace(bench, machine=machine, rows=(row, replace(row, threads=row.threads + 1)))
    text = render(scored, compare_bundle(scored, {}), None, bench, with_images=False)
    cells = re.findall(rf"{row.runtime}</td><td>(\d)</td>", text)
    assert cells == [str(row.threads), str(row.threads + 1)]
    assert "on: a CPU of elsewhere" in text
    for label, images in (("COVID-19", 58), ("Normal", 231)):
        assert f'<td class="text">{label}</td><td>{images}</td>' in text


def test_the_page_of_a_student_names_its_teacher(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    scored = scored_without_a_model(run, 58, 1)
    assert "distillation" not in render(scored, compare_bundle(scored, {}), None, None, with_images=False)
    record = json.loads(run.config_file.read_text())
    config = replace(run.config(), student=Student("/home/ada/runs/teacher", "", 40_000_000, 10_000_000, {}, ()))
    run.config_file.write_text(json.dumps({**record, **to_json(config)}))
    text = render(scored, compare_bundle(scored, {}), None, None, with_images=False)
    assert "student of teacher: 10 of 40 million multiply-accumulates (0.25)" in text
    assert "start: its teacher&#39;s weights" in text and "on the head" not in text


def test_no_bound_of_the_calibration_error_is_rounded_down(capsys: pytest.CaptureFixture[str]) -> None:
    show_calibration(CalibrationError(0.02, at_most=0.0301, by_chance=0.0402), None)
    assert "2.0 % (at most 3.1; a perfectly calibrated model would show up to 4.1 here)" in capsys.readouterr().out


@pytest.fixture(scope="module")
def scored(small_bundle: Path) -> ScoredBundle:
    return score_bundle(small_bundle, Scope.of_labels(), stage)


@pytest.fixture(scope="module")
def page(small_run: Run, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Typed as a user would, after a short bench."""
    from tests.conftest import type_command

    folder = tmp_path_factory.mktemp("report")
    quick = ["--runtime", "litert", "--runtime", "onnx", "--queries", "5", "--seconds", "0"]
    assert type_command(["bench", "--run", str(small_run.folder), *quick]) == 0
    assert type_command(["report", "--run", str(small_run.folder), "--output", str(folder / "report.html")]) == 0
    return folder / "report.html"


def test_the_page_holds_the_run(page: Path, small_run: Run, small_bundle: Path) -> None:
    text = page.read_text()
    for artifact in read_bundle(small_bundle):
        assert text.count(artifact.name) >= 4, artifact.name
    metrics = json.loads(small_run.metrics_file.read_text())
    assert f"{100 * metrics['accuracy']:.1f}" in text
    config = small_run.config()
    assert config.data_sha256 in text
    assert f"{config.network.described(config.options.image_size)}, {config.options.image_size} px" in text
    assert "Not a medical device" in text
    assert "show that the tool works and say nothing about patients" in text
    assert "operating point" in text.lower()
    # Learning curves, ROC and precision-recall, reliability, size against latency.
    assert text.count("<svg") == 4
    assert "images/s" in text


def test_the_page_needs_no_network_and_shows_no_image_unasked(page: Path) -> None:
    text = page.read_text()
    assert [link for link in re.findall(r'(?:src|href)="([^"]*)"', text) if not link.startswith(("data:", "#"))] == []
    assert "<script" not in text
    assert "data:image/png" not in text
    assert "@import" not in text


def test_flipped_images_are_listed_and_shown_on_request(scored: ScoredBundle) -> None:
    artifact, runtime, (answers,) = scored.artifacts[0]
    turned = answers.copy()
    turned[3] = turned[3][[1, 2, 0]]
    changed = ScoredBundle(scored.run, scored.reference, ((artifact, runtime, (turned,)),))
    text = render(changed, compare_bundle(changed, {}), None, None, with_images=True)
    assert scored.reference.split.part("test")[3].path in text
    assert text.count('class="thumb"') == 1
    assert "Not measured on these files" in text


def test_int8_is_compared_with_int8_ptq_under_shift(scored: ScoredBundle) -> None:
    rows = compare_bundle(scored, {})
    advice = advise(rows)
    assert advice is not None
    assert {row.label for row in advice.compared} == {"int8", "int8-ptq"}
    text = render(scored, rows, advice, None, with_images=False)
    assert advice.why in text
    assert all(name in text for name in ("hard window", "rotation", "int8-ptq same %"))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_opens_the_page_without_complaint(page: Path, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}", "--enable-logging=stderr",
        "--virtual-time-budget=2000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count("<svg") == 4
