"""A record's figures are judged before they are put into words; records from before stay readable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.benchmarking.compare import Change, compare, require_no_regression
from cxr_edge.benchmarking.ratios import Speed, judge_speed
from cxr_edge.benchmarking.record import BenchRecord, Row, WarningKind, read_record
from cxr_edge.errors import DataError, GateError, OptionError
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.terminal.bench import bench_csv, bench_markdown, show_bench
from tests.artifacts import OLD

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
STEADY = (10.0, 10.1, 9.9, 10.0, 10.05, 9.95)


@pytest.fixture
def record() -> BenchRecord:
    return read_record(OLD / "bench.json")


@pytest.mark.parametrize(
    "path", [OLD / "bench.json", *sorted(RESULTS.glob("*/bench*.json"))], ids=lambda path: path.name
)
def test_a_record_of_schema_2_is_read_with_all_that_it_says(path: Path) -> None:
    old, record = json.loads(path.read_text(encoding="utf-8")), read_record(path)
    assert (old["schema"], record.schema) == (2, 3)
    assert [(row.id, row.threads, row.p50_ms) for row in record.rows] == [
        (row["id"], row["threads"], row["p50_ms"]) for row in old["rows"]
    ]
    assert [warning.text for warning in record.warnings] == old["notes"]
    assert {warning.kind for warning in record.warnings} <= {WarningKind.OTHER}
    assert "none" not in {row.quantization for row in record.rows}
    assert record.winner.id == next(row["id"] for row in old["rows"] if row.get("winner"))
    assert from_json(BenchRecord, json.loads(json.dumps(to_json(record)))) == record
    assert bench_markdown(record).splitlines()[0] == record.conclusion


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema": 1, "rows": []}', '{"schema": 4}', '{"schema": 3}'])
def test_an_invalid_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match="not a record"):
        read_record(tmp_path / "x.json")


def test_faster_requires_the_whole_interval_and_the_medians_to_agree() -> None:
    assert judge_speed(0.5, (0.4, 0.6)) is Speed.FASTER
    assert judge_speed(2.0, (1.8, 2.2)) is Speed.SLOWER
    assert judge_speed(0.8, (0.6, 1.0)) is Speed.UNDECIDED
    assert judge_speed(1.1, (0.8, 0.9)) is Speed.UNDECIDED
    assert judge_speed(0.5, None) is Speed.UNDECIDED


def with_winner(record: BenchRecord, interval: tuple[float, float] | None, speed: Speed) -> BenchRecord:
    """The record with a winner that is 7.8 times as fast as the baseline, by an interval of the ratio."""

    def changed(row: Row) -> Row:
        if not row.winner:
            return row
        return replace(row, ratio=1 / 7.8, speed_up=7.8, ratio_interval=interval, speed=speed)

    assert record.winner.speed is not Speed.BASELINE
    return replace(record, rows=tuple(changed(row) for row in record.rows)).concluded()


def test_the_last_line_has_the_interval_and_the_noise(record: BenchRecord, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = replace(record, noise=replace(record.noise, noisy=True, reasons=("rounds spread by 40 %",)))
    noisy = with_winner(noisy, (1 / 17.1, 1 / 2.6), Speed.FASTER)
    show_bench(noisy)
    for line in (capsys.readouterr().out.splitlines()[-1], bench_markdown(noisy).splitlines()[0]):
        assert "7.80 times the speed" in line
        assert "2.60 to 17.10" in line
        assert "too noisy" in line
        assert "rounds spread by 40 %" in line


def test_an_int8_file_that_an_accelerator_computes_in_float_is_reported(
    record: BenchRecord, capsys: pytest.CaptureFixture[str]
) -> None:
    winner = record.winner
    assert winner.quantization.is_integer
    show_bench(record)
    assert "int8 on" not in capsys.readouterr().out
    nodes = {"CUDAExecutionProvider": 424, "CPUExecutionProvider": 77}
    row = replace(winner, id="xception-int8.onnx@onnx:cuda", baseline="xception-int8.onnx@onnx:cuda", nodes_on=nodes)
    show_bench(replace(record, rows=(row,)))
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "xception-int8.onnx@onnx:cuda: 424 nodes on CUDAExecutionProvider, 77 nodes on CPUExecutionProvider" in printed
    )
    assert "int8 on onnx:cuda: no integers: it takes every convolution, in float" in printed


@pytest.mark.parametrize("interval", [(0.9, 1.3), None])
def test_what_may_be_chance_is_not_called_faster(
    record: BenchRecord, interval: tuple[float, float] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    doubtful = with_winner(record, interval, Speed.UNDECIDED)
    assert "cannot be told apart" in doubtful.conclusion
    assert "faster" not in doubtful.conclusion
    assert "times the speed" not in doubtful.conclusion
    show_bench(doubtful)
    assert "7.80x?" in capsys.readouterr().out


def test_a_winner_that_is_the_baseline_names_what_is_as_fast(record: BenchRecord) -> None:
    winner = record.winner
    rows = [
        replace(row, baseline=winner.id, speed=Speed.BASELINE if row is winner else Speed.UNDECIDED)
        for row in record.rows
    ]
    text = replace(record, rows=tuple(rows)).concluded().conclusion
    assert f"{winner.artifact} on {winner.runtime}, the baseline" in text
    assert all(row.id in text for row in rows if row.id != winner.id)


def test_a_baseline_that_wins_because_the_faster_files_failed_says_so(record: BenchRecord) -> None:
    fastest, *others = sorted(record.rows, key=lambda row: row.p50_ms)
    winner = others[-1]
    rows = [
        replace(
            row,
            baseline=winner.id,
            winner=row is winner,
            speed=Speed.BASELINE if row is winner else Speed.FASTER,
            verdict=None if row is winner else Verdict.FAILED,
        )
        for row in record.rows
    ]
    text = replace(record, rows=tuple(rows)).concluded().conclusion
    assert "has the lowest median of those that passed their parity gate" in text
    assert fastest.id in text.partition("faster but failed: ")[2]


def test_csv_has_no_nested_figures(record: BenchRecord) -> None:
    header, *lines = bench_csv(record).splitlines()
    assert len(lines) == len(record.rows)
    assert {"id", "p50_ms", "speed", "cpu"} <= set(header.split(","))
    assert "{" not in "".join(lines)


def only(record: BenchRecord, rounds: tuple[float, ...] = STEADY, factor: float = 1.0) -> BenchRecord:
    """A record of one row with these rounds, all times a factor."""
    rounds = tuple(factor * value for value in rounds)
    return replace(record, rows=(replace(record.rows[0], p50_ms=10.0 * factor, rounds_ms=rounds),))


def test_a_regression_is_one_only_beyond_doubt(record: BenchRecord) -> None:
    old = only(record)

    def verdict(new: BenchRecord) -> Change:
        (row,) = compare(old, new)
        return row.verdict

    assert verdict(old) is Change.SAME
    assert verdict(only(record, factor=1.2)) is Change.SLOWER
    assert verdict(only(record, factor=0.8)) is Change.FASTER
    assert verdict(only(record, (8.0, 14.0, 9.0, 13.0, 8.5, 15.0))) is Change.UNKNOWN
    assert verdict(only(record, STEADY[:3], factor=3.0)) is Change.UNKNOWN
    assert verdict(replace(record, rows=())) is Change.GONE
    require_no_regression(compare(old, old))
    with pytest.raises(GateError, match="slower than the old record"):
        require_no_regression(compare(old, only(record, factor=1.2)))
    with pytest.raises(GateError, match="not measured now"):
        require_no_regression(compare(old, replace(record, rows=())))


def test_float32_is_the_row_that_was_called_none(record: BenchRecord) -> None:
    old = only(record)
    renamed = replace(old, rows=(replace(old.rows[0], id="xception-none.onnx@onnx"),))
    new = replace(old, rows=(replace(old.rows[0], id="xception-float32.onnx@onnx"),))
    assert compare(renamed, new)[0].verdict is Change.SAME


def test_latencies_of_two_machines_are_not_compared(record: BenchRecord) -> None:
    with pytest.raises(OptionError, match="another machine"):
        compare(record, replace(record, machine=replace(record.machine, cpu="another")))
    with pytest.raises(OptionError, match="px"):
        compare(record, replace(record, image_size=299))


def with_cascade(record: BenchRecord, mean_ms: float, rounds: tuple[float, ...] = STEADY) -> BenchRecord:
    """A record of a full model with these means, and of its cascade."""
    full = replace(record.rows[0], p50_ms=10.0, mean_ms=mean_ms, rounds_ms=rounds)
    return replace(record, rows=(full, replace(full, id="cascade-int8.tflite@litert", escalated=0.25)))


def test_every_row_beside_a_cascade_is_compared_by_its_mean(record: BenchRecord) -> None:
    old = with_cascade(record, 10.0)
    new = with_cascade(record, 12.0, tuple(1.2 * value for value in STEADY))
    assert [(row.old_ms, row.new_ms, row.verdict) for row in compare(old, new)] == [(10.0, 12.0, Change.SLOWER)] * 2


def test_cascades_are_compared_only_with_each_other_and_on_the_same_images(record: BenchRecord) -> None:
    old = with_cascade(record, 10.0)
    other = replace(old, images=replace(old.images, count=old.images.count + 1))
    with pytest.raises(OptionError, match="depends on the images"):
        compare(old, other)
    for first, second in ((old, record), (record, old)):
        with pytest.raises(OptionError, match="one record has a cascade"):
            compare(first, second)
    # The latency of anything else does not.
    assert {row.ratio for row in compare(record, replace(record, images=other.images))} == {1.0}
