"""Students: a network as data, fewer blocks and channels, and a run like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.benchmarking.noise import Clock
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import OptionError, RunError
from cxr_edge.evaluation.conditions import VALIDATION
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.files import sha256_of
from cxr_edge.inspection.inspect import inspect
from cxr_edge.intervals import Interval
from cxr_edge.records import from_json, to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import MeasuredLatency, RunConfig
from cxr_edge.runs.history import History, read_history
from cxr_edge.runs.network import XCEPTION, Block, Network
from cxr_edge.runs.progress import SILENT
from cxr_edge.statistics.intervals import kl_divergences
from tests.artifacts import old_record, some_metadata
from tests.conftest import ANY_GATE, Cli, few_images, plain_rounding, type_command
from tests.small_network import SMALL, use_small_network
from tests.tiny import ramp
from tests.tiny_runs import write_int8, write_run

if TYPE_CHECKING:
    from cxr_edge.shrinking.budget import Narrowed
    from cxr_edge.shrinking.importance import Importance


def test_a_network_survives_json_and_an_old_run_defaults_to_xception() -> None:
    assert from_json(Network, json.loads(json.dumps(to_json(SMALL)))) == SMALL
    config = RunConfig.from_json(old_record("run.json"))
    assert (config.network, config.student) == (XCEPTION, None)


@pytest.mark.parametrize(
    ("number", "block"),
    [
        (4, Block(5, (48, 32, 48))),
        (4, Block(7, (48, 32, 32))),
        (0, Block(1, (16, 32, 32))),
        (6, Block(12, (48, 32, 32))),
    ],
)
def test_blocks_that_do_not_fit_together_are_refused(number: int, block: Block) -> None:
    blocks = list(SMALL.blocks)
    blocks[number] = block
    with pytest.raises(ValueError, match="network"):
        Network(tuple(blocks))


def test_added_tensors_share_their_channels() -> None:
    written = {convolution.name: convolution.writes for convolution in XCEPTION.convolutions()}
    stream = {written[name] for name in ("residual_conv3", "block4_sepconv2", "block5_sepconv3", "block12_sepconv3")}
    assert stream == {"block4_sepconv2"}
    assert written["residual_conv4"] == written["block13_sepconv2"]
    narrower = XCEPTION.with_widths({**XCEPTION.widths(), "block4_sepconv2": 512})
    assert {block.widths[-1] for block in narrower.blocks if block.is_middle} == {512}


def test_the_full_network_has_xceptions_published_multiply_accumulates() -> None:
    """8.4 billion multiply-accumulates at 299 px, as the EfficientNet paper lists it (Tan and Le, 2019, table 2)."""
    assert XCEPTION.macs(299) == pytest.approx(8.4e9, rel=0.01)


def test_pruning_removes_the_least_important_channels_and_meets_the_budget() -> None:
    from cxr_edge.shrinking.widths import MULTIPLE, prune

    rng = np.random.default_rng(0)
    importance = {group: rng.random(width) for group, width in XCEPTION.widths().items()}
    importance["block1_conv2"][:32] = 0.0
    budget = XCEPTION.macs(128) // 2
    result = prune(XCEPTION, importance, budget, 128)
    assert result is not None
    pruned, kept = result
    assert 0.97 * budget < pruned.macs(128) <= budget
    assert all(width % MULTIPLE == 0 or width == XCEPTION.widths()[group] for group, width in pruned.widths().items())
    assert {group: len(channels) for group, channels in kept.items()} == pruned.widths()
    assert kept["block1_conv2"].min() >= 32
    assert prune(XCEPTION, importance, XCEPTION.macs(128) // 1000, 128) is None


def random_importance() -> Importance:
    rng = np.random.default_rng(0)
    return {group: rng.random(width) for group, width in XCEPTION.widths().items()}


FULL = XCEPTION.macs(128)


def latency_of(network: Narrowed) -> Interval:
    """A machine on which the first layers take time of their own, and on which middle blocks run at half the speed."""
    slow = network.macs - network.network.without(network.network.middle).macs(network.shape.image_size)
    return Interval(0.05 * (network.shape.image_size / 128) ** 2 + 0.6 * (network.macs + slow) / FULL)


def test_networks_slower_than_their_multiply_accumulates_suggest_are_pruned_further() -> None:
    from cxr_edge.shrinking.budget import SLACK, shapes_of, within_latency

    asked: list[int] = []

    def measured(networks: Sequence[Narrowed]) -> list[Interval]:
        asked.append(len(networks))
        return [latency_of(network) for network in networks]

    shapes = shapes_of(XCEPTION, XCEPTION.middle, (128, 96))
    assert len(shapes) == 10 and len({shape.without for shape in shapes}) == 5
    within = within_latency(shapes, random_importance(), FULL, 0.2, measured)
    assert [network.shape for network in within] == shapes
    for network in within:
        assert network.latency == latency_of(network)
        assert network.share <= 0.2
        assert network.share >= (1 - SLACK) * 0.2 or network.network == network.shape.network
    deep, *_, shallow = (network.macs for network in within if network.shape.image_size == 128)
    assert deep < 0.8 * shallow
    assert asked[:2] == [10, 10] and sum(asked) <= 35


def test_fast_networks_are_not_pruned_and_those_that_stay_too_slow_are_dropped() -> None:
    from cxr_edge.shrinking.budget import shapes_of, within_latency

    shapes = shapes_of(XCEPTION, XCEPTION.middle, (128, 96))
    times = {shape: 0.1 if shape.image_size == 96 else 0.9 for shape in shapes}
    within = within_latency(
        shapes, random_importance(), FULL, 0.5, lambda networks: [Interval(times[each.shape]) for each in networks]
    )
    assert [(network.shape, network.network) for network in within] == [
        (shape, shape.network) for shape in shapes if shape.image_size == 96
    ]


def test_an_unreachable_latency_is_refused_with_the_lowest_that_can_be_reached() -> None:
    from cxr_edge.shrinking.budget import shapes_of, within_latency

    shapes = shapes_of(XCEPTION, XCEPTION.middle, (128, 96))
    with pytest.raises(OptionError, match=r"--latency 0\.02: .* 0\.03\d of .* \(96 px, 8 blocks fewer\)") as refused:
        within_latency(shapes, random_importance(), FULL, 0.02, lambda networks: list(map(latency_of, networks)))
    assert refused.value.exit_code == 2


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, cache_of_its_own: None) -> Run:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    with pytest.MonkeyPatch.context() as patch:
        use_small_network(patch)
        options = ("--phantoms", "12", "--image-size", "80", "--epochs", "1", "--batch-size", "8")
        assert type_command(["train", "--run", str(folder), *options]) == 0
    return Run(folder)


class _KilledError(BaseException):
    """In place of SIGKILL."""


def killed_after_an_epoch(arguments: list[str]) -> None:
    """Type a command, whose process ends when an epoch is on the disk."""
    from cxr_edge.training import loop

    write = loop.write_history

    def write_and_die(path: Path, history: History) -> None:
        write(path, history)
        raise _KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_history", write_and_die)
        with pytest.raises(_KilledError):
            type_command(arguments)


def shrinking(teacher: Run, folder: Path) -> list[str]:
    return ["shrink", str(teacher.folder), "--run", str(folder), "--macs", "0.5", "--epochs", "2", "--image-size", "71"]


@pytest.fixture(scope="module")
def student(teacher: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Killed after its first epoch, and resumed like any other run."""
    run = Run(tmp_path_factory.mktemp("student") / "run")
    killed_after_an_epoch(shrinking(teacher, run.folder))
    assert not run.model_file.exists()
    assert type_command(["train", "--run", str(run.folder), "--resume"]) == 0
    return run


def test_multiply_accumulates_agree_with_the_keras_model() -> None:
    from cxr_edge.training.backend import keras
    from cxr_edge.training.xception import build_classifier

    total = 0
    for layer in build_classifier(90, 3, SMALL).layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.SeparableConv2D):
            total += np.prod(layer.output_shape[1:3]) * sum(np.prod(weight.shape) for weight in layer.weights)
    assert SMALL.macs(90) == total


def test_an_unpruned_student_gives_the_teachers_answers(teacher: Run) -> None:
    from cxr_edge.shrinking.importance import skipped
    from cxr_edge.shrinking.inherit import inherit
    from cxr_edge.training.classifier import load_classifier

    model, images = load_classifier(teacher), np.random.default_rng(0).integers(0, 256, (2, 80, 80, 1))
    everything = {group: np.arange(width) for group, width in SMALL.widths().items()}
    wanted = model(images, training=False).numpy()
    assert np.allclose(inherit(model, SMALL, everything, 80)(images, training=False), wanted, atol=1e-6)
    shorter = inherit(model, SMALL.without({6}), everything, 80)(images, training=False)
    with skipped(model, SMALL, 6):
        assert np.allclose(model(images, training=False), shorter, atol=1e-6)
    assert np.array_equal(model(images, training=False).numpy(), wanted)


@pytest.mark.slow
def test_recomputed_statistics_are_those_of_all_images() -> None:
    """Also where one batch is dark and the other one bright."""
    from cxr_edge.shrinking.inherit import inherit, recompute_statistics
    from cxr_edge.training.backend import keras, tf
    from cxr_edge.training.batches import Batches
    from cxr_edge.training.xception import build_classifier

    everything = {group: np.arange(width) for group, width in SMALL.widths().items()}
    model = inherit(build_classifier(71, 3, SMALL), SMALL, everything, 71)
    shades = np.random.default_rng(0).integers(0, 100, (2, 4, 71, 71, 1)).astype(np.float32)
    shades[1] += 120

    class TwoBatches(Batches):
        def epoch(self, number: int) -> Any:
            return tf.data.Dataset.from_tensor_slices((shades, np.zeros((2, 4))))

    batches = TwoBatches(shades.reshape(8, 71, 71, 1).astype(np.uint8), np.arange(8) % 3, 3, 4, 0)
    recompute_statistics(model, batches, 2)
    first = keras.Model(model.input, model.get_layer("block1_conv1").output)(shades.reshape(8, 71, 71, 1)).numpy()
    mean, variance = model.get_layer("block1_conv1_bn").get_weights()[2:]
    assert np.allclose(mean, first.mean(axis=(0, 1, 2)), atol=1e-4)
    assert np.allclose(variance, first.var(axis=(0, 1, 2)), rtol=1e-3)


def test_a_student_is_a_run_of_its_own_that_names_its_teacher(teacher: Run, student: Run) -> None:
    config = student.config()
    assert config.student is not None
    assert config.student.teacher_sha256 == sha256_of(teacher.model_file)
    assert config.network.macs(71) == config.student.macs <= SMALL.macs(80) // 2 == config.student.teacher_macs // 2
    assert set(config.student.block_sensitivity) == {"5", "6"}
    assert min(config.student.candidates, key=lambda candidate: candidate.divergence).macs == config.student.macs
    assert student.split_file.read_bytes() == teacher.split_file.read_bytes()
    assert config.data_sha256 == teacher.config().data_sha256
    assert [epoch.phase for epoch in read_history(student.history_file).epochs] == ["distillation"] * 2
    assert student.metrics_file.is_file() and not student.checkpoints.exists() and not student.start_weights.exists()


_RECIPE = Recipe((ArtifactFormat.TFLITE,), (Quantization.INT8,))


def test_the_epoch_that_is_kept_answers_most_like_the_teacher(teacher: Run, student: Run) -> None:
    from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

    split = run_split(student)
    answers = [
        predict_probabilities(
            compiled(load_classifier(run)), decoded(split, VALIDATION, run.config().options.image_size)
        )
        for run in (teacher, student)
    ]
    distances, targets = kl_divergences(*answers), split.targets("validation")
    history = read_history(student.history_file)
    assert history.kept is not None
    best = history.epochs[history.kept].score
    assert best == max(epoch.score for epoch in history.epochs)
    assert best == pytest.approx(-np.mean([distances[targets == label].mean() for label in range(3)]), rel=1e-3)


def test_the_metadata_of_an_exported_student_name_the_teacher(teacher: Run, student: Run) -> None:
    from cxr_edge.data.split import run_split
    from cxr_edge.exporting.seal import shared_metadata

    shared = shared_metadata(student, run_split(student), _RECIPE, 1.0, "0" * 64, "0" * 64)
    assert shared.training.teacher_sha256 == sha256_of(teacher.model_file)


def test_an_artifact_of_a_student_says_so(tmp_path: Path, cli: Cli) -> None:
    training = replace(some_metadata().training, teacher_sha256="ab" * 32)
    run = write_run(tmp_path / "run")
    write_int8(run.bundle, training=replace(training, model_sha256=sha256_of(run.model_file)))
    artifact, picture = run.bundle / "xception-int8.tflite", tmp_path / "a.png"
    Image.fromarray(ramp()).save(picture)
    assert "ab" * 32 in cli("inspect", artifact).out
    assert "student of abababababab" in cli("predict", picture, "--artifact", artifact).out
    assert cli("card", "--bundle", run.bundle).code == 0
    assert "ab" * 32 in (run.bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.exhaustive
def test_a_student_is_exported_in_integers(student: Run, cli: Cli) -> None:
    with few_images(), plain_rounding():
        options = ("--quantize", "int8", "--quantize", "int8-ptq", "--qat-steps", "2")
        exported = cli("export", "--run", student.folder, *options, *ANY_GATE)
    assert exported.code == 0, exported.err
    for artifact in (*student.bundle.glob("*.tflite"), *student.bundle.glob("*.onnx")):
        computation = inspect(artifact).computation
        assert computation is not None and computation.integer_share > 0.99


def test_a_student_cannot_be_repeated_by_train_like(student: Run, cli: Cli) -> None:
    result = cli("train", "--like", student.folder)
    assert result.code == 2
    assert "cxr-edge shrink" in result.err


@pytest.mark.exhaustive
def test_a_resumed_student_ends_like_an_uninterrupted_one(teacher: Run, student: Run, tmp_path: Path) -> None:
    whole = Run(tmp_path / "run")
    assert type_command(shrinking(teacher, whole.folder)) == 0
    assert read_history(whole.history_file) == read_history(student.history_file)
    with h5py.File(whole.model_file) as whole_file, h5py.File(student.model_file) as resumed_file:
        name = "model_weights/probabilities/probabilities/kernel:0"
        assert np.array_equal(whole_file[name], resumed_file[name])


def test_a_student_needs_the_exact_model_that_it_was_made_from(teacher: Run, student: Run) -> None:
    from cxr_edge.training.backend import keras
    from cxr_edge.training.distill import teacher_model
    from cxr_edge.training.precision import global_policy

    record = student.config().student
    assert record is not None
    with global_policy("mixed_bfloat16"):
        # Whatever the student is trained in, it is judged by what the run's model answers.
        assert {layer.compute_dtype for layer in teacher_model(record).layers} == {"float32"}
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    with pytest.raises(RunError, match="not the model that the student was made from"):
        teacher_model(replace(record, teacher_sha256="0" * 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--macs", "0"), "--macs 0"),
        (("--latency", "1.5"), "--latency 1.5"),
        (("--latency", "0.5", "--macs", "0.5"), "one budget"),
        (("--macs", "0.001"), "too narrow"),
        (("--image-size", "96"), "from 71 to the teacher's 80"),
        (("--unlabelled", "nowhere"), "no such folder"),
        (("--epochs", "0"), "--epochs 0"),
    ],
)
def test_invalid_options_are_refused_and_leave_no_run(
    teacher: Run, tmp_path: Path, cli: Cli, options: tuple[str, ...], message: str
) -> None:
    result = cli("shrink", teacher.folder, "--run", tmp_path / "run", *options)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "run").exists()


class FakeStopwatch:
    """Of a machine on which a network without middle blocks is fast, and any other is not."""

    def __init__(self, model: Any, split: Any, budget: float, progress: Any) -> None:
        self.budget = budget

    def __call__(self, networks: Sequence[Narrowed]) -> list[Interval]:
        return [Interval(own.macs / SMALL.macs(80) if own.shape.without else 0.9, 0.1, 0.9) for own in networks]

    def record(self, share: Interval) -> MeasuredLatency:
        measured = {"teacher_p50_ms": 8.0, "spread": 0.01, "runtime": "LiteRT", "threads": 1, "cpu": "some CPU"}
        return MeasuredLatency(budget=self.budget, share=share, **measured)  # type: ignore[arg-type]


def test_a_student_by_latency_is_the_one_that_was_measured_to_be_fast_enough(
    teacher: Run, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.shrinking.latency.Stopwatch", FakeStopwatch)
    # Of the teacher's 80 px, a smaller share would be below the least size, and is left out.
    monkeypatch.setattr("cxr_edge.shrink_options._SEARCHED_SIZES", (1.0, 0.9, 0.75))
    run, record = Run(tmp_path / "run"), tmp_path / "student.json"
    result = cli("shrink", teacher.folder, "--run", run.folder, "--latency", "0.5", "--epochs", "1", "--json", record)
    assert result.code == 0, result.err
    config = run.config()
    assert config.student is not None and config.student.latency is not None
    assert {(own.without, own.image_size) for own in config.student.candidates} == {((5, 6), 80), ((5, 6), 72)}
    best = min(config.student.candidates, key=lambda candidate: candidate.divergence)
    assert (config.options.image_size, config.student.macs) == (best.image_size, best.macs)
    assert config.student.latency.share == best.latency and 0.3 < config.student.share <= 0.5
    assert json.loads(record.read_text())["latency"] == json.loads(run.config_file.read_text())["student"]["latency"]
    assert "of the teacher's int8 latency, 8.00 ms on LiteRT, 1 thread" in " ".join(result.out.split())


def test_a_student_by_multiply_accumulates_records_no_latency(student: Run) -> None:
    record = json.loads(student.config_file.read_text())["student"]
    assert "latency" not in record
    assert all(set(candidate) == {"without", "macs", "divergence"} for candidate in record["candidates"])


def test_no_student_is_chosen_by_latency_on_a_noisy_machine(
    teacher: Run, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.benchmarking.noise.NOISY_SPREAD", -1.0)
    monkeypatch.setattr("cxr_edge.shrinking.latency.SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.benchmarking.latency.WARM_UP_SECONDS", 0.0)
    result = cli("shrink", teacher.folder, "--run", tmp_path / "run", "--latency", "0.5")
    assert result.code == 3
    assert "too noisy" in result.err and "--macs" in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_networks_of_several_sizes_are_measured_in_int8_beside_their_teacher(
    teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxr_edge.data.split import run_split
    from cxr_edge.shrinking.budget import Narrowed, Shape
    from cxr_edge.shrinking.latency import Stopwatch
    from cxr_edge.training.classifier import load_classifier

    monkeypatch.setattr("cxr_edge.benchmarking.noise.NOISY_SPREAD", 100.0)
    monkeypatch.setattr("cxr_edge.shrinking.latency.read_clock", lambda: Clock(None, None, None))
    monkeypatch.setattr("cxr_edge.shrinking.latency.SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.benchmarking.latency.WARM_UP_SECONDS", 0.0)
    stopwatch = Stopwatch(load_classifier(teacher), run_split(teacher), 0.5, SILENT)
    everything = {group: np.arange(width) for group, width in SMALL.widths().items()}
    networks = []
    for size, without in ((80, ()), (71, (5, 6))):
        network = SMALL.without(without)
        networks.append(Narrowed(Shape(network, without, size), network, everything, network.macs(size)))
    whole, smaller = stopwatch(networks)
    assert whole.value is not None and smaller.value is not None and smaller.low is not None
    assert 0 < smaller.value < whole.value
    record = stopwatch.record(smaller)
    assert (record.budget, record.share, record.runtime, record.threads) == (0.5, smaller, "LiteRT", 1)
    assert record.teacher_p50_ms > 0


def test_unlabelled_images_exclude_duplicates_masks_and_images_of_the_split(teacher: Run, tmp_path: Path) -> None:
    from cxr_edge.data.split import run_split
    from cxr_edge.data.unlabelled import unlabelled_images

    split = run_split(teacher)
    shutil.copyfile(split.root / split.part("test")[0].path, tmp_path / "known.png")
    grey = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    for name in ("new.png", "again.png"):
        Image.fromarray(grey).save(tmp_path / name)
    (tmp_path / "masks").mkdir()
    Image.fromarray(255 - grey).save(tmp_path / "masks" / "new.png")
    assert unlabelled_images([tmp_path], split, 80) == (sha256_of(tmp_path / "new.png"),)
