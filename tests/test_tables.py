"""Text is printed literally: no markup, and no control sequences for the terminal."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cxr_edge.benchmarking.record import read_record
from cxr_edge.console import printable, progress_bar
from cxr_edge.reporting.terminal.bench import show_bench
from cxr_edge.reporting.terminal.tables import markdown_table, show, show_table
from tests.conftest import Cli


def test_square_brackets_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("labels [2]", ["class [x]", "n"], [["Normal [adult]", "1"], ["Normal [child]", "[/]"]])
    with progress_bar("counting [red]", 1) as bar:
        bar.note("[done]")
    captured = capsys.readouterr()
    for text in ("labels [2]", "class [x]", "Normal [adult]", "Normal [child]", "[/]"):
        assert text in captured.out
    assert "counting [red]" in captured.err
    assert "[done]" in captured.err


def test_a_log_file_gets_periodic_lines_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("cxr_edge.console.time", SimpleNamespace(monotonic=lambda: now))
    for interval, lines in (
        (3600.0, []),
        (50.0, ["counting: 6 of 8, so far [good]; 2 min left", "counting: 7 of 8, so far [good]; 60 s left"]),
    ):
        monkeypatch.setattr("cxr_edge.console.LOG_INTERVAL", interval)
        with progress_bar("counting", 8, done=5) as bar:
            bar.note("so far [good]")
            for _ in range(3):
                now += 60
                bar.advance()
        assert capsys.readouterr().err.splitlines()[:-1] == lines


def test_control_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[2Jb\rc\nd\u202ee\udc80.png"
    shown = r"a\x1b[2Jb\rc\nd\u202ee\udc80.png"
    show(name)
    show_table("x", ["file"], [[name]])
    assert capsys.readouterr().out.count(shown) == 2
    assert shown in markdown_table(["file"], [[name]])
    assert printable("röntgen bild\u00a0[1].png") == "röntgen bild\u00a0[1].png"


def test_a_column_may_have_a_name_of_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("x", ["acc.\n%"], [["1"]])
    out = capsys.readouterr().out
    assert r"\n" not in out
    assert "acc." in out


def test_an_error_about_a_file_has_its_name_and_no_control_characters(cli: Cli, tmp_path: Path) -> None:
    result = cli("inspect", tmp_path / "x\x1b[31m.onnx")
    assert result.code == 2
    assert "\x1b" not in result.err
    assert r"x\x1b[31m.onnx" in result.err


PARITY = ["artifact", "accuracy %", "", "drop", "", "same %", "McNemar p", "verdict"]
CELLS = ["xception-int8-ptq.tflite", "98.8", "97.1 to 99.5", "0.25", "0.0 to 0.7", "99.8", "1.00", "too few"]


@pytest.mark.parametrize("width", [80, 50])
def test_no_word_of_a_table_is_broken_or_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.reporting.terminal.tables.WIDTH", width)
    show_table("Parity", PARITY, [CELLS, CELLS])
    out = capsys.readouterr().out
    words = {word for cell in (*PARITY, *CELLS) for word in cell.split()}
    assert set(out.replace("\u2500", " ").split()) == {"Parity", *words}
    if width == 80:
        assert max(map(len, out.splitlines())) <= 80


def test_the_tables_of_a_bench_fit_on_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.reporting.terminal.tables.WIDTH", 80)
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "radiography-128px"
    show_bench(read_record(results / "bench.json"))
    out = capsys.readouterr().out
    tables = [line for line in out.splitlines() if line.startswith(" ")]
    assert "  xception-int8-ptq.tflite " in out
    assert max(map(len, tables)) <= 80


def test_a_table_that_fits_has_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Parity", PARITY, [CELLS])
    assert any("97.1 to 99.5" in line and "too few" in line for line in capsys.readouterr().out.splitlines())
