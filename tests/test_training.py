"""`cxr-edge train`: it learns, it resumes, and bad input leaves nothing behind."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from cxr_edge.errors import RunError
from cxr_edge.intervals import Interval
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.runs import Run
from cxr_edge.runs.history import Epoch, History, read_history
from cxr_edge.runs.network import XCEPTION
from tests.conftest import Cli
from tests.small_network import use_small_network


def test_xception_learns_the_phantoms(run: Run) -> None:
    metrics = json.loads(run.metrics_file.read_text())
    assert metrics["data"] == "phantoms"
    assert metrics["images"] == 81
    assert metrics["accuracy"] >= 0.9
    assert sum(map(sum, metrics["confusion_matrix"])) == 81


def test_a_finished_run_has_all_its_files(run: Run) -> None:
    config = run.config()
    assert config.labels == ("COVID-19", "Viral Pneumonia", "Normal")
    assert config.phantoms
    for path in (run.split_file, run.model_file, run.history_file):
        assert path.stat().st_size > 0
    for name in ("learning_curves.png", "confusion_matrix.png"):
        with Image.open(run.folder / name) as picture:
            assert picture.width > 300
    assert not run.checkpoints.exists()


def test_evaluate_repeats_the_test_metrics(run: Run, cli: Cli, tmp_path: Path) -> None:
    assert cli("evaluate", "--run", run.folder, "--json", tmp_path / "x.json").code == 0
    again = json.loads((tmp_path / "x.json").read_text())
    assert again["confusion_matrix"] == json.loads(run.metrics_file.read_text())["confusion_matrix"]


@pytest.mark.model
def test_the_first_convolution_is_imagenets_summed_over_its_channels(tmp_path: Path) -> None:
    from cxr_edge.training.backend import keras
    from cxr_edge.training.xception import build_classifier, load_pretrained

    colour = keras.applications.Xception(include_top=False, weights=None, input_shape=(71, 71, 3), pooling="avg")
    colour.save_weights(str(tmp_path / "no_top.h5"))
    grey = build_classifier(71, 3)
    load_pretrained(grey, str(tmp_path / "no_top.h5"))
    images = np.random.default_rng(0).integers(0, 256, (2, 71, 71, 1)).astype(np.float32)
    features = keras.Model(grey.input, grey.get_layer("pooling").output)
    expected = colour(np.repeat(images, 3, axis=-1) / 127.5 - 1, training=False).numpy()
    assert np.abs(features(images, training=False).numpy() - expected).max() < 1e-4


@pytest.mark.model
def test_frozen_blocks_keep_their_weights_and_statistics() -> None:
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.precision import training_step
    from cxr_edge.training.xception import build_classifier, freeze_blocks

    network = XCEPTION.without(range(6, 13))
    model = build_classifier(71, 3, network)
    freeze_blocks(model, network, 4)
    model.compile(FusedAdam(1e-3), "categorical_crossentropy")
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    images = np.random.default_rng(0).uniform(0, 255, (3, 71, 71, 1)).astype(np.float32)
    training_step(model)(images, np.eye(3, dtype=np.float32))
    frozen = set()
    for name, weights in before.items():
        updated = model.get_layer(name).get_weights()
        unchanged = [np.array_equal(old, new) for old, new in zip(weights, updated, strict=True)]
        assert all(unchanged) or not any(unchanged), name
        if all(unchanged):
            frozen.add(name)
    blocks = {name for name in before if name.startswith(("block1_", "block2_", "block3_", "block4_"))}
    shortcuts = {f"residual_conv{number}{suffix}" for number in (1, 2, 3) for suffix in ("", "_bn")}
    assert frozen == blocks | shortcuts


def train_arguments(data: Path, run: Path) -> list[str]:
    return ["train", "--data", str(data), "--run", str(run), "--weights", "none", "--image-size", "71",
            "--batch-size", "8", "--seed", "1", "--epochs", "3"]  # fmt: skip


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    write_phantoms(folder, 10, size=80)
    return folder


def interrupted(arguments: list[str], epoch: int, by: signal.Signals) -> tuple[int, str]:
    """Send a signal to a training of the small network in an epoch; its exit status, and what it wrote to stderr."""
    command = [sys.executable, "-m", "tests.small_network", by.name, str(epoch), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return process.returncode, process.stderr


def test_tf_data_autotuning_is_disabled() -> None:
    """Its thread sleeps for seconds, for which about every other epoch would wait at its end."""
    from cxr_edge.training.batches import Batches

    batches = Batches(np.zeros((9, 8, 8, 1), np.uint8), np.arange(9) % 3, classes=3, batch_size=4, seed=0)
    assert batches.epoch(0).options().autotune.enabled is False
    assert len(list(batches.epoch(0))) == 2


@pytest.mark.slow
def test_a_resumed_training_equals_an_uninterrupted_one(
    few: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_kills` checks this for Xception."""
    folder, resuming = tmp_path / "run", ["train", "--resume", "--run"]
    assert interrupted(train_arguments(few, folder), 2, signal.SIGKILL)[0] == -signal.SIGKILL
    assert not Run(folder).model_file.exists()
    assert cli("export", "--run", folder).code == 2
    refused = cli("train", "--resume", "--run", folder, "--epochs", "9")
    assert refused.code == 2
    assert "--epochs 3" in refused.err

    code, errors = interrupted([*resuming, str(folder)], 3, signal.SIGINT)
    assert code == 130
    assert f"interrupted; resume with cxr-edge train --run {folder} --resume" in errors.splitlines()

    finished = cli("train", "--resume", "--run", folder)
    assert finished.code == 0, finished.err
    assert "training 3/3: loss " in finished.err
    assert "kept: training epoch " in finished.out
    assert f"next: cxr-edge export --run {folder}" in finished.out
    assert not folder.joinpath("checkpoints").exists()
    assert cli("train", "--resume", "--run", folder).code == 2

    whole = tmp_path / "whole"
    use_small_network(monkeypatch)
    assert cli(*train_arguments(few, whole)).code == 0
    first, second = (read_history(Run(name).history_file) for name in (folder, whole))
    assert [epoch.epoch for epoch in first.epochs] == [1, 2, 3]
    assert first == second
    with h5py.File(Run(folder).model_file) as resumed, h5py.File(Run(whole).model_file) as other:
        name = "model_weights/probabilities/probabilities/kernel:0"
        assert np.array_equal(resumed[name], other[name])


@pytest.mark.slow
def test_the_last_quarter_of_a_fine_tuning_has_frozen_batch_norms(
    few: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after it was interrupted within that quarter; and its model comes from there, even if others were better."""
    from cxr_edge.training import loop
    from cxr_edge.training.backend import tf

    use_small_network(monkeypatch)
    # Pre-trained weights fit Xception alone.
    monkeypatch.setattr("cxr_edge.training.start._check_weights", lambda *arguments: None)
    monkeypatch.setattr("cxr_edge.training.train.load_pretrained", lambda *arguments: None)
    worse = (loop.Validation(1.0, Interval(0.5), Interval(0.5), -float(number)) for number in count())
    monkeypatch.setattr("cxr_edge.training.train.validator", lambda *arguments: lambda: next(worse))
    write, epochs, interrupt_in = loop.write_history, [], 8

    def write_and_keep(path: Path, history: History) -> None:
        if len(history.epochs) == interrupt_in:
            raise KeyboardInterrupt
        write(path, history)
        reader = tf.train.load_checkpoint(str(path.with_suffix("")))
        epochs.append({name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})

    def kept(kind: str) -> list[bool]:
        """Whether all variables of a kind are those of the epoch before."""
        names = [name for name in epochs[0] if name.startswith("model/") and f"/{kind}/.ATTRIBUTES" in name]
        assert len(names) > 10
        return [all(np.array_equal(new[name], old[name]) for name in names) for old, new in pairwise(epochs)]

    monkeypatch.setattr(loop, "write_history", write_and_keep)
    folder, arguments = tmp_path / "run", ["--weights", "imagenet", "--head-epochs", "0", "--epochs", "8"]
    assert cli(*train_arguments(few, folder), *arguments).code == 130
    interrupt_in = 0
    assert cli("train", "--resume", "--run", folder).code == 0
    assert kept("moving_mean") == kept("moving_variance") == kept("gamma") == [False] * 5 + [True] * 2
    assert kept("pointwise_kernel") == [False] * 7
    history = read_history(Run(folder).history_file)
    assert history.kept == 6


@pytest.mark.slow
@pytest.mark.parametrize(("floor", "kept"), [(-np.inf, [True, False, True, False]), (0.0, [False] * 4)])
def test_epochs_with_frozen_batch_norms_are_kept_only_if_the_phases_before_were_worse(
    tmp_path: Path, floor: float, kept: list[bool]
) -> None:
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.backend import keras
    from cxr_edge.training.batches import Batches
    from cxr_edge.training.loop import Phase, Validation

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.BatchNormalization(), layers.Dense(3, activation="softmax")]
    )
    model.compile(FusedAdam(1e-3), keras.losses.CategoricalCrossentropy(), metrics=["accuracy"])
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)
    worse = (Validation(1.0, Interval(0.5), Interval(0.5), -float(number)) for number in count(1))
    phase = Phase("x", model, model, 4, lambda: next(worse), tmp_path, floor, frozen_norm_epochs=2)
    batches = Batches(images, np.arange(9) % 3, classes=3, batch_size=4, seed=0)
    history = phase.run(batches, History(()), lambda text: None, lambda epoch, epochs: None)
    assert [epoch.kept for epoch in history.epochs] == kept


def tiny_phase(folder: Path, report: Callable[[Epoch, int], None], validate: Callable[[], None]) -> None:
    """Train a tiny model for three epochs, or resume that; no epoch is kept, so that only checkpoints are written."""
    from cxr_edge.training.backend import keras
    from cxr_edge.training.batches import Batches
    from cxr_edge.training.loop import Phase, Validation

    def validation() -> Validation:
        validate()
        return Validation(1.0, Interval(0.5), Interval(0.5), 0.0)

    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    batches = Batches(np.zeros((9, 8, 8, 1), np.uint8), np.arange(9) % 3, classes=3, batch_size=4, seed=0)
    phase = Phase("x", model, model, 3, validation, folder, floor=1.0)
    phase.run(batches, phase.resume(), lambda text: None, report)


@pytest.mark.slow
def test_a_full_disk_ends_a_training_with_the_reason_and_it_resumes(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    reported: list[int] = []

    def report(epoch: Epoch, epochs: int) -> None:
        reported.append(epoch.epoch)

    def fill_disk() -> None:
        if reported:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))

    try:
        with pytest.raises(
            RunError, match=re.escape(f"{tmp_path / 'x'}: no checkpoint can be written (File too large)")
        ):
            tiny_phase(tmp_path, report, fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert reported == [1]
    tiny_phase(tmp_path, report, lambda: None)
    assert reported[-2:] == [2, 3]


@pytest.mark.slow
def test_an_epoch_whose_report_failed_is_reported_by_the_resumed_training(tmp_path: Path) -> None:
    reported: list[int] = []

    def report(epoch: Epoch, epochs: int) -> None:
        reported.append(epoch.epoch)
        if reported == [1, 2]:
            raise RunError("the server is away")

    with pytest.raises(RunError):
        tiny_phase(tmp_path, report, lambda: None)
    tiny_phase(tmp_path, report, lambda: None)
    assert reported == [1, 2, 2, 3]


def bad_inputs(few: Path, folder: Path) -> dict[str, tuple[list[str], str]]:
    """Arguments of a training that cannot work, and a word its message must hold."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(few, folder / name))

    empty_class, one_image, text = copy("empty_class"), copy("one_image"), copy("text")
    for path in (empty_class / "Normal").iterdir():
        path.unlink()
    for path in sorted((one_image / "Normal").iterdir())[1:]:
        path.unlink()
    (text / "Normal" / "notes.png").write_text("no image")
    with h5py.File(folder / "wrong.h5", "w") as file:
        file["kernel"] = np.zeros((3, 3))
    (folder / "text.h5").write_text("no weights")
    good = ["--data", str(few), "--weights", "none"]
    return {
        "no folder": (["--data", str(folder / "nowhere")], "nowhere"),
        "empty class": (["--data", str(empty_class), "--weights", "none"], "Normal"),
        "one image": (["--data", str(one_image), "--weights", "none"], "1 image;"),
        "not an image": (["--data", str(text), "--weights", "none", "--on-bad-image", "fail"], "notes.png"),
        "too small": ([*good, "--image-size", "70"], "71"),
        "no weights file": (["--data", str(few), "--weights", str(folder / "nowhere.h5")], "nowhere.h5"),
        "weights of another model": (["--data", str(few), "--weights", str(folder / "wrong.h5")], "wrong.h5"),
        "weights that are text": (["--data", str(few), "--weights", str(folder / "text.h5")], "text.h5"),
        "epochs": ([*good, "--epochs", "0"], "--epochs"),
    }


CASES = ("no folder", "empty class", "one image", "not an image", "too small", "no weights file", "epochs")
#: Detected only when a model is built.
LATE_CASES = ("weights of another model", "weights that are text")


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in LATE_CASES)])
def test_bad_input_is_one_clear_line_and_leaves_nothing(few: Path, tmp_path: Path, cli: Cli, case: str) -> None:
    arguments, word = bad_inputs(few, tmp_path)[case]
    result = cli("train", "--run", tmp_path / "run", *arguments)
    assert result.code == 2
    assert word in result.err
    assert [line.startswith("error: ") for line in result.err.splitlines()].count(True) == 1
    assert result.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


def test_commands_without_a_run_name_the_fix(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A device has bundles, and trains nothing.
    ways = {"cxr-edge train": (["export"], ["evaluate"]), "--bundle": (["bench"], ["verify"], ["predict", "x.png"])}
    for way, commands in ways.items():
        for command in commands:
            result = cli(*command)
            assert result.code == 2
            assert way in result.err


def test_a_folder_that_holds_a_run_is_not_overwritten(run: Run, cli: Cli) -> None:
    before = run.config_file.read_bytes()
    assert cli("train", "--run", run.folder).code == 2
    assert run.config_file.read_bytes() == before
