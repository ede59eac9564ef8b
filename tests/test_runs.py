"""What a run records: older files are read, one process at a time trains, an interrupted training says so."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from PIL import Image

from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.choices import OnBadImage, Precision, Resize
from cxr_edge.cli.spread import spread_declared, spread_out
from cxr_edge.errors import OptionError, RunError
from cxr_edge.evaluation.metrics import metrics_of
from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics, read_run_metrics
from cxr_edge.intervals import mean_interval, wilson_interval
from cxr_edge.option import Option, Panel
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.records import to_json
from cxr_edge.reporting.html.plots import draw_run_plots
from cxr_edge.reporting.terminal.training import TrainingDisplay
from cxr_edge.runs import Run, new_run, run_named
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import History, read_history
from cxr_edge.runs.lock import locked
from cxr_edge.runs.network import XCEPTION
from cxr_edge.runs.progress import Progress
from cxr_edge.train_options import completed, stated_options
from cxr_edge.training.jobs import train_new
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.start import UNFINISHED, start_run
from tests.artifacts import OLD, old_record
from tests.conftest import Cli, heed_interrupts

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")
#: `run.json` of the first versions, which said less.
EARLY: dict[str, Any] = {
    "started": "2026-09-01T10:00:00+00:00",
    "cxr_edge": "0.1.0",
    "labels": list(LABELS),
    "images": dict.fromkeys(LABELS, 180),
    "data_sha256": "dff1",
    "options": {
        "data": None, "image_size": 71, "weights": "none", "head_epochs": 0, "epochs": 7, "batch_size": 16,
        "learning_rate": 0.001, "precision": "auto", "seed": 0, "phantoms": 180,
    },
}  # fmt: skip
#: The same before it had a schema number.
SCHEMA_1: dict[str, Any] = {
    **EARLY,
    "images_with_patient": 12,
    "patients_doubt": None,
    "class_folders": {"Normal": "NORMAL"},
    "left_out": ["Lung_Opacity"],
    "skipped": [{"path": "a.png", "reason": "a.png: empty"}],
    "given_parts": {},
    "leaks": ["patient 3"],
    "repeated": 2,
    "doubt": None,
    "sources_apart": ["Normal"],
    "dicom_warnings": {"no window": 3},
    "options": {
        **EARLY["options"], "data": "/data", "resize": "pad", "on_bad_image": "fail", "include": ["lung-opacity"],
        "hold_out_source": None, "folds": 3, "fold": 1,
    },
}  # fmt: skip
ROW = {"phase": "head", "epoch": 1, "loss": 1.0, "accuracy": 0.5, "validation_loss": 0.9, "validation_accuracy": 0.6,
       "validation_balanced_accuracy": 0.6, "score": 0.5}  # fmt: skip
SCHEMA_1_HISTORY = [
    ROW,
    {**ROW, "epoch": 2, "score": 0.7},
    {**ROW, "phase": "fine-tuning", "score": 0.6},
    {**ROW, "phase": "fine-tuning", "epoch": 2, "score": 0.8},
    {**ROW, "phase": "fine-tuning", "epoch": 3, "score": 0.8},
]
MATRIX = [[8, 2, 0], [0, 10, 0], [1, 0, 9]]


def test_runs_of_early_versions_are_read() -> None:
    config = RunConfig.from_json(EARLY)
    assert config.phantoms
    assert (config.options.resize, config.options.on_bad_image) == ("stretch", OnBadImage.SKIP)
    assert (config.images_with_patient, config.skipped, config.leaks) == (0, (), ())


def test_a_run_without_a_schema_number_is_read_whole_and_written_with_one() -> None:
    config = RunConfig.from_json(SCHEMA_1)
    assert not config.phantoms
    assert config.options.precision is Precision.AUTO
    assert (config.options.resize, config.options.include, config.options.fold) == ("pad", ("lung-opacity",), 1)
    assert config.skipped[0].reason == "a.png: empty"
    assert (config.images_with_patient, config.repeated, config.dicom_warnings) == (12, 2, {"no window": 3})
    written = json.loads(json.dumps(to_json(config)))
    assert written["schema"] == 3
    assert RunConfig.from_json(written) == config


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "damaged"),
        ("[]", "object"),
        (json.dumps({**EARLY, "schema": 99}), "schema is 99"),
        (json.dumps({**EARLY, "labels": 3}), "labels"),
        (json.dumps({**EARLY, "options": {}}), "options.data"),
    ],
)
def test_a_damaged_run_is_one_clear_error(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=word) as error:
        Run(tmp_path).config()
    assert str(tmp_path / "run.json") in str(error.value)


def test_the_kept_epoch_of_an_old_history_is_recovered() -> None:
    history = History.from_json(SCHEMA_1_HISTORY)
    assert [epoch.kept for epoch in history.epochs] == [True, True, False, True, False]
    assert history.kept == 3
    assert history.epochs[3].validation_accuracy.value == 0.6
    assert History.from_json(json.loads(json.dumps(to_json(history)))) == history


def test_the_history_and_metrics_that_commit_a3fe295_wrote_are_read() -> None:
    assert len(read_history(OLD / "history.json").epochs) == 2
    metrics = read_run_metrics(OLD / "metrics.json")
    assert metrics.phantoms
    assert to_json(metrics)["accuracy"] == old_record("metrics.json")["accuracy"]


def test_an_interrupted_phase_is_compared_with_the_best_of_earlier_phases() -> None:
    history = History.from_json(SCHEMA_1_HISTORY[2:], best_before=0.7)
    assert [epoch.kept for epoch in history.epochs] == [False, True, False]


def test_scores_of_schema_2_become_comparable_with_those_of_a_resumed_training() -> None:
    record = to_json(History.from_json(SCHEMA_1_HISTORY))
    rows = [{**row, "score": 0.5, "validation_loss": 0.9 - index / 10} for index, row in enumerate(record["epochs"])]
    history = History.from_json({"epochs": rows, "schema": 2})
    assert [epoch.score for epoch in history.epochs] == pytest.approx([-0.9, -0.8, -0.7, -0.6, -0.5])
    assert history.kept == 3
    with pytest.raises(ValueError, match="schema is 4"):
        History.from_json({"epochs": rows, "schema": 4})
    with pytest.raises(ValueError, match="not a list of epochs"):
        History.from_json({"schema": 2})


def test_old_metrics_get_intervals_from_their_counts() -> None:
    classes = [
        {"label": label, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 10, "auc": 0.9} for label in LABELS
    ]
    record = {"part": "test", "data": "phantoms", "precision_policy": "float32", "images": 30, "accuracy": 0.9,
              "macro_auc": 0.9, "classes": classes, "confusion_matrix": MATRIX}  # fmt: skip
    metrics = RunMetrics.from_json(record)
    assert metrics.phantoms
    assert metrics.metrics.accuracy == wilson_interval(27, 30)
    assert metrics.metrics.macro_auc == pytest.approx(0.9)
    assert RunMetrics.from_json(json.loads(json.dumps(to_json(metrics)))) == metrics


def test_old_cross_validations_are_read() -> None:
    rate = {"value": 0.9, "low": 0.7, "high": 1.0}
    classes = [{"label": label, "support": 10, "recall": rate, "precision": rate} for label in LABELS]
    record = {"data": "images", "images": 30, "accuracy": rate, "balanced_accuracy": 0.9, "fold_accuracy": [0.8, 1.0],
              "classes": classes, "confusion_matrix": MATRIX}  # fmt: skip
    figures = CrossValidation.from_json(record)
    assert (figures.phantoms, figures.fold_accuracy, figures.metrics.images) == (False, (0.8, 1.0), 30)
    assert CrossValidation.from_json(json.loads(json.dumps(to_json(figures)))) == figures


def test_intervals_agree_with_a_reference() -> None:
    from scipy import stats

    for hits, count in ((0, 5), (3, 5), (5, 5), (180, 200)):
        expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
        interval = wilson_interval(hits, count)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert wilson_interval(0, 0).value is wilson_interval(0, 0).low is None


def test_the_interval_of_a_mean_has_its_nominal_coverage() -> None:
    import numpy as np

    random, rates, counts = np.random.default_rng(0), (0.95, 0.8, 0.9), (20, 40, 30)
    covered = 0
    for _ in range(2000):
        hits = [int(random.binomial(count, rate)) for rate, count in zip(rates, counts, strict=True)]
        interval = mean_interval([wilson_interval(*pair) for pair in zip(hits, counts, strict=True)])
        assert interval.low is not None and interval.high is not None
        covered += interval.low <= sum(rates) / 3 <= interval.high
    assert 0.93 < covered / 2000 < 0.98


def test_unstated_options_get_their_defaults() -> None:
    values = {"seed": 3, "include": ["lung-opacity"], "data": Path("/data"), "epochs": None, "run": Path("run")}
    stated = stated_options(values)
    assert stated == {"seed": 3, "include": ("lung-opacity",), "data": "/data"}
    options = completed(stated)
    assert (options.seed, options.image_size, options.weights, options.epochs) == (3, 160, "imagenet", 8)
    phantoms = completed({"resize": "pad"})
    assert (phantoms.image_size, phantoms.weights, phantoms.epochs, phantoms.resize) == (71, "none", 7, Resize.PAD)
    scratch = completed({"data": "/data", "weights": "none"})
    assert (scratch.image_size, scratch.epochs, scratch.head_epochs, scratch.learning_rate) == (160, 7, 0, 1e-3)


def test_blocks_without_trained_weights_cannot_be_frozen() -> None:
    assert completed({"data": "/data", "frozen_blocks": 13}).frozen_blocks == 13
    with pytest.raises(OptionError, match="--frozen-blocks must be 0 with --weights none"):
        completed({"frozen_blocks": 4})
    with pytest.raises(OptionError, match="--frozen-blocks 14: must be below 14"):
        completed({"data": "/data", "frozen_blocks": 14})


@dataclass(frozen=True, kw_only=True)
class Cooking:
    """Options of an imaginary command."""

    minutes: Annotated[int, Option(Panel.DATA, "How long.", default=5)]
    spices: Annotated[tuple[str, ...], Option(Panel.DATA, "Repeatable.")] = ()
    stir: Annotated[bool, Option(Panel.TRAINING, "Now and then.")] = False


def test_a_dataclass_field_is_enough_to_add_an_option() -> None:
    app, seen = typer.Typer(), []

    @spread_declared("options", lambda: Cooking)
    def cook(options: Mapping[str, Any]) -> None:
        seen.append(options)

    app.command()(spread_out(cook))
    typer.main.get_command(app)(["--stir", "--spices", "salt", "--spices", "thyme"], standalone_mode=False)
    assert seen == [{"minutes": None, "spices": ["salt", "thyme"], "stir": True}]


HOLD = "import sys, time; from pathlib import Path; from cxr_edge.runs.lock import locked\n" \
       "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"  # fmt: skip


@contextmanager
def held_by_another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_second_training_on_a_run_is_refused_and_touches_nothing(tmp_path: Path, started: Callable[..., Any]) -> None:
    folder = tmp_path / "run"
    write_phantoms(tmp_path / "data", 5, size=64)
    with held_by_another(folder) as holder:
        (folder / "split.csv").write_text("the first's")
        result = started("--data", tmp_path / "data", "--run", folder)
        assert result.code == 2
        assert f"process {holder.pid} on " in result.err
        assert (folder / "split.csv").read_text() == "the first's"
        holder.kill()
        holder.wait()
    # The lock file left by a killed process does not lock the run.
    assert (folder / ".lock").exists()
    assert started("--data", tmp_path / "data", "--run", folder).code == 0
    assert not (folder / ".lock").exists()


def test_checkpoints_that_a_kill_left_beside_the_model_are_removed(
    tmp_path: Path, started: Callable[..., Any], cli: Cli
) -> None:
    run = Run(tmp_path / "run")
    write_phantoms(tmp_path / "data", 5, size=64)
    assert started("--data", tmp_path / "data", "--run", run.folder).code == 0
    run.checkpoints.mkdir()
    run.model_file.write_text("the model")
    (run.folder / ".model-x.partial.h5").write_text("half of it")
    assert "nothing to resume" in cli("train", "--resume", "--run", run.folder).err
    assert not run.checkpoints.exists()
    assert sorted(path.name for path in run.folder.iterdir() if path.suffix == ".h5") == ["model.h5"]


def test_only_one_thread_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def enter() -> None:
        nonlocal inside, most, refused
        for _ in range(50):
            try:
                with locked(tmp_path / "run"):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.001)
                    with guard:
                        inside -= 1
            except RunError:
                refused += 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert refused > 0


def test_only_what_a_failed_start_made_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(run: Run, progress: Progress) -> TrainingResult:
        # What a training has made before its first epoch ends.
        run.mlflow_run_file.write_text("the identifier of a run on a server")
        for folder in (run.tensorboard, run.checkpoints):
            folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_edge.training.train.train", interrupted)
    write_phantoms(tmp_path / "data", 5, size=64)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    options = completed({"data": str(tmp_path / "data"), "weights": "none", "image_size": 71})
    with pytest.raises(KeyboardInterrupt):
        train_new(Run(tmp_path / "run"), options)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_phantoms_of_a_start_that_was_killed_are_not_trained_on(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    write_phantoms(run.phantoms_folder, 12, size=64, seed=7)
    with pytest.raises(RunError, match="exists already, and not by a training that was interrupted"):
        start_run(run, completed({"phantoms": 10, "image_size": 71}))
    assert len(list(run.phantoms_folder.rglob("*.png"))) == 36
    # As the start leaves it.
    (run.phantoms_folder / UNFINISHED).touch()
    config = start_run(run, completed({"phantoms": 10, "image_size": 71}))
    assert not (run.phantoms_folder / UNFINISHED).exists()
    assert set(config.images.values()) == {10}


def test_a_network_other_than_xception_is_recorded_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    networks = []

    def interrupted(run: Run, progress: Progress) -> TrainingResult:
        networks.append(run.config().network)
        raise KeyboardInterrupt

    monkeypatch.setattr("cxr_edge.training.train.train", interrupted)
    write_phantoms(tmp_path / "data", 5, size=64)
    options = completed({"data": str(tmp_path / "data"), "weights": "none", "image_size": 71})
    smaller = XCEPTION.without(range(7, 13))
    for number, network in enumerate((XCEPTION, smaller)):
        with pytest.raises(KeyboardInterrupt):
            train_new(Run(tmp_path / f"run{number}"), options, TrainingDisplay(lambda run: []), network)
    assert networks == [XCEPTION, smaller]
    assert capsys.readouterr().out.count("network: a smaller Xception (2 of 8 middle blocks, 309 of 550 million") == 1


def test_unavailable_weights_are_reported_before_any_image_is_decoded(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_edge.training.backend import keras

    def offline(**options: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(keras.applications, "Xception", offline)
    write_phantoms(tmp_path / "data", 5, size=64)
    result = cli("train", "--data", tmp_path / "data", "--run", tmp_path / "run")
    assert result.code == 2
    assert "--weights FILE" in result.err
    assert "decoding" not in result.err
    assert not (tmp_path / "run").exists()


#: All imports come first: where a signal meets one, Python prints that it ignored an exception.
SLEEP = "import sqlite3, sys, time; from cxr_edge.console import interruptible\n" \
        "with interruptible(lambda: 'resume this\\x1b[2J'):\n    print('on', flush=True)\n    {body}"  # fmt: skip
#: Like a conversion by TensorFlow: native code that no signal reaches, its output held back.
DEAF = "import cxr_edge.console as console; held = console.quiet(); held.__enter__(); sqlite3" \
       ".connect(':memory:').execute(\'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 " \
       "FROM n WHERE i < 2000000000) SELECT count(*) FROM n\').fetchall()"  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("body", ["time.sleep(60)", DEAF])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_with_a_line(body: str, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEP.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    # The name of a run may contain terminal control sequences.
    assert errors == "resume this\\x1b[2J\n"
    assert process.returncode == code


def result_of(folder: Path, labels: tuple[str, ...]) -> TrainingResult:
    metrics = metrics_of(labels, [tuple(row) for row in MATRIX], (None, None, None))
    return TrainingResult(
        Run(folder),
        RunMetrics(data=TrainingData.IMAGES, precision_policy="float32", metrics=metrics),
        History.from_json(SCHEMA_1_HISTORY),
    )


def test_labels_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    assert draw_run_plots(result_of(tmp_path, (r"cost$x_$y", r"a$\frac{$b", "Normal"))) == []
    for name in ("learning_curves.png", "confusion_matrix.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300


def test_a_plot_that_cannot_be_drawn_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "learning_curves.png").mkdir()
    (warning,) = draw_run_plots(result_of(tmp_path, LABELS))
    assert "learning_curves.png: cannot be drawn" in warning
    assert (tmp_path / "confusion_matrix.png").is_file()


def test_a_run_is_found_by_its_name_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside, beside = tmp_path / "runs" / "small", tmp_path / "other"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
    assert run_named(Path("small")).folder == Path("runs/small")
    assert run_named(Path("other")).folder == Path("other")
    assert run_named(Path("new")).folder == Path("new")
    assert new_run(Path("small")).folder == Path("runs/small")
    # A folder here comes before a name there.
    (tmp_path / "small").mkdir()
    assert run_named(Path("small")).folder == Path("small")
    assert Run(inside).option == "small"
    assert Run(beside).option == str(beside)
