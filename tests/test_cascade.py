"""A cascade: two artifacts in one bundle, which every command takes as one or refuses."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_edge import ArtifactError, Classifier, GateError, OptionError
from cxr_edge.artifacts.bundle import CARD, MANIFEST, listed_artifacts, read_manifest
from cxr_edge.artifacts.cascade import SMALL_REFERENCES, Cascade, require_fit_together
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.metadata import CascadeEntry
from cxr_edge.benchmarking.bench import bench
from cxr_edge.benchmarking.compare import compare
from cxr_edge.benchmarking.options import BenchOptions
from cxr_edge.benchmarking.plan import plan_bench
from cxr_edge.benchmarking.record import read_record
from cxr_edge.evaluation.cascade_fit import Answers, CascadeDemands, CascadeFit, cascade_fit_of, fit_cascade, summed
from cxr_edge.evaluation.operating import OperatingPoint
from cxr_edge.evaluation.operating_figures import operating_figures
from cxr_edge.evaluation.operating_fit import Basis, FittedPoint
from cxr_edge.evaluation.operating_record import OperatingRecord
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.evaluation.replay import compared_with_recorded
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.card.card import update_card
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.runtimes.loaded import CascadeSession, MemberSession, joined, load_artifact, parted
from cxr_edge.runtimes.selection import artifacts_of_bundle
from cxr_edge.statistics.against_full import accuracy_less_full
from cxr_edge.statistics.intervals import paired_difference
from tests.artifacts import some_metadata
from tests.conftest import Cli
from tests.schemas import faults
from tests.tiny import FULL_WEIGHTS, THRESHOLD, expected, grey, write_cascade

EXAMPLES = Path(__file__).parents[1] / "examples"
LABELS = ("COVID-19", "Normal", "Viral Pneumonia")


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cascade(tmp_path_factory.mktemp("cascade") / "bundle")


@pytest.fixture
def fresh_cascade(tmp_path: Path) -> Path:
    return write_cascade(tmp_path / "bundle")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Classes as folders, each with a dark ramp, which the small model is unsure about, and a bright one."""
    files = []
    for label in LABELS:
        (tmp_path / "images" / label).mkdir(parents=True)
        for name, low, high in (("dark", 0, 60), ("bright", 195, 255)):
            files.append(tmp_path / "images" / label / f"{name}.png")
            Image.fromarray(np.tile(np.linspace(low, high, 80).astype(np.uint8), (80, 1))).save(files[-1])
    return files


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A bundle whose manifest was edited."""
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def resealed(content: dict[str, Any]) -> None:
    """Compute the cascade's digest anew, as a careful forger does."""
    hashes = {entry["file"]: entry["sha256"] for entry in content["artifacts"]}
    entry = from_json(CascadeEntry, content["cascade"])
    content["cascade"]["sha256"] = entry.sealed(hashes[entry.small], hashes[entry.full]).sha256


@pytest.mark.parametrize("kind", ArtifactFormat)
def test_the_small_model_answers_and_where_it_is_unsure_the_full_one_does(
    kind: ArtifactFormat, tmp_path: Path, pictures: list[Path]
) -> None:
    runtime = "litert" if kind is ArtifactFormat.TFLITE else "onnx"
    classifier = Classifier.open(write_cascade(tmp_path / "bundle", kind), runtime)
    dark, bright = classifier.predict(pictures[:2])
    assert (dark.answered_by, bright.answered_by) == ("full", "small")
    assert (dark.label, bright.label) == (classifier.labels[2], classifier.labels[0])
    assert max(bright.probabilities) >= THRESHOLD
    assert np.allclose(dark.probabilities, expected(grey(96, 30), FULL_WEIGHTS), atol=0.01)
    assert classifier.answering.sha256 == read_manifest(tmp_path / "bundle").cascade.sha256  # type: ignore[union-attr]


def test_predict_says_which_model_answered(cascade: Path, pictures: list[Path], cli: Cli, tmp_path: Path) -> None:
    lines, record = tmp_path / "answers.csv", tmp_path / "answers.json"
    done = cli("predict", *pictures[:2], "--bundle", cascade, "--runtime", "litert", "--csv", lines, "--json", record)
    assert done.code == 0
    assert "full one answered 1 of 2 images" in done.out
    with lines.open() as file:
        assert [row["answered_by"] for row in csv.DictReader(file)] == ["full", "small"]
    batch = json.loads(record.read_text())
    assert [row["answered_by"] for row in batch["rows"]] == ["full", "small"]
    assert (batch["artifact"], batch["small_from"]) == ("cascade-int8.tflite", THRESHOLD)


def test_a_session_answers_a_batch_and_takes_each_picture_at_both_sizes(cascade: Path) -> None:
    (artifact,) = listed_artifacts(cascade)
    images = [np.concatenate([grey(size, value) for value in (0, 255, 60)]) for size in (71, 96)]
    rows = joined(images)
    assert all(np.array_equal(part, image) for part, image in zip(parted(rows, (71, 96)), images, strict=True))
    answers = load_artifact(artifact, runtime_named("litert"), 1).run(rows)
    probabilities = expected(images[0]).reshape(3, 3)
    probabilities[[0, 2]] = expected(images[1], FULL_WEIGHTS).reshape(3, 3)[[0, 2]]
    assert np.allclose(answers, probabilities, atol=1e-5)


def test_evaluate_scores_the_cascade_as_one(cascade: Path, pictures: list[Path], cli: Cli, tmp_path: Path) -> None:
    record = tmp_path / "evaluate.json"
    done = cli("evaluate", "--bundle", cascade, "--data", tmp_path / "images", "--json", record)
    assert done.code == 0, done.err
    # All dark pictures get the last class, all bright ones the first: two of six are right.
    assert json.loads(record.read_text())["accuracy"] == pytest.approx(2 / 6)


def test_verify_replays_the_whole_and_both_models(cascade: Path, cli: Cli, tmp_path: Path) -> None:
    record = tmp_path / "replay.json"
    done = cli("verify", "--bundle", cascade, "--runtime", "litert", "--replay", "--json", record)
    assert done.code == 0, done.err
    rows = json.loads(record.read_text())
    assert [row["artifact"] for row in rows] == ["small-int8.tflite", "full-int8.tflite", "cascade-int8.tflite"]
    assert {row["verdict"] for row in rows} == {"passed"}
    assert Classifier.open(cascade, "litert").verify().verdict == "passed"


def test_a_full_model_that_computes_something_else_fails_the_replay(tmp_path: Path, cli: Cli) -> None:
    folder = write_cascade(tmp_path / "bundle", right=False)
    assert cli("verify", "--bundle", folder, "--runtime", "litert", "--replay").code == 3


def test_an_input_at_the_threshold_may_be_answered_by_either_model(tmp_path: Path) -> None:
    folder = write_cascade(tmp_path / "bundle")
    (artifact,) = listed_artifacts(folder)
    assert isinstance(artifact, Cascade)
    assert artifact.small.reference is not None
    assert artifact.full.reference is not None
    small, full = (np.float32(own.probabilities) for own in (artifact.small.reference, artifact.full.reference))
    near = replace(artifact, entry=replace(artifact.entry, threshold=float(small[2].max()) + 0.01))
    for third in (small[2], full[2]):
        answers = np.stack([full[0], full[1], third, small[3]])
        assert compared_with_recorded(near, answers, "any").verdict == "passed"
    assert compared_with_recorded(near, np.stack([full[0], small[1], full[2], small[3]]), "any").verdict == "failed"


def test_bench_measures_the_cascade_beside_its_full_model(
    cascade: Path, pictures: list[Path], cli: Cli, tmp_path: Path
) -> None:
    record = tmp_path / "bench.json"
    images = [word for path in pictures for word in ("--images", path)]
    arguments = ("--quick", "--seconds", 0, "--runtime", "litert", "--bundle", cascade)
    done = cli("bench", *arguments, *images, "--json", record)
    assert done.code == 0, done.err
    content = json.loads(record.read_text())
    rows = {row["artifact"]: row for row in content["rows"]}
    assert set(rows) == {"full-int8.tflite", "cascade-int8.tflite"}
    row = rows["cascade-int8.tflite"]
    # With fewer queries than images, some images would not count.
    assert row["queries"] >= len(pictures)
    assert row["baseline"] == "full-int8.tflite@litert"
    assert row["escalated"] == 0.5
    assert row["ratio"] == pytest.approx(row["mean_ms"] / rows["full-int8.tflite"]["mean_ms"], rel=0.01)
    assert "escalated" not in rows["full-int8.tflite"]
    assert "% of the queries went on to the full model" in done.out
    # The cascade's rounds differ by their images; that is no noise of the machine.
    assert content["noise"]["spread"] == rows["full-int8.tflite"]["spread"] != row["spread"]
    assert {own.ratio for own in compare(*[read_record(record)] * 2)} == {1.0}


@pytest.mark.parametrize(
    ("bright", "dark", "tolerance"),
    # Whole passes; of 101 images, a prime number, one and a part of the next: 46 images drawn at random count twice.
    [(6, 3, 1e-9), (71, 30, 0.03)],
)
def test_a_cascades_mean_is_that_of_all_images_though_they_are_sorted_by_class(
    cascade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bright: int, dark: int, tolerance: float
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now

    def run(session: CascadeSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        clock.now += 0.01 if session.escalated(images).any() else 0.001
        return np.zeros((len(images), 3), np.float32)

    monkeypatch.setattr("cxr_edge.benchmarking.latency.time", clock)

    def run_full(session: MemberSession, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        clock.now += 0.01
        return np.zeros((len(images), 3), np.float32)

    monkeypatch.setattr(CascadeSession, "run", run)
    monkeypatch.setattr(MemberSession, "run", run_full)
    for index in range(bright + dark):
        low, high = (195, 255) if index < bright else (0, 60)
        picture = Image.fromarray(np.tile(np.linspace(low, high, 80).astype(np.uint8), (80, 1)))
        picture.save(tmp_path / f"{index:03}.png")
    options = BenchOptions(("litert",), (tmp_path,), (1,), seconds=0.14, starts=0, throughput_seconds=0.0)
    record = bench(artifacts_of_bundle(cascade), replace(options, file_rounds=1, folder_seconds=0.0))
    (row,) = (row for row in record.rows if row.escalated is not None)
    share = dark / (bright + dark)
    assert row.escalated == pytest.approx(share, abs=tolerance)
    assert row.mean_ms == pytest.approx(1 + 9 * share, abs=9 * tolerance)
    assert row.mean_ms == pytest.approx(1 + 9 * row.escalated)


def test_bench_measures_no_cascade_on_an_accelerator(cascade: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a machine that has one.
    monkeypatch.setattr("cxr_edge.runtimes.base.Runtime.require", lambda runtime: None)
    with pytest.raises(OptionError, match="a cascade runs on the CPU"):
        plan_bench(artifacts_of_bundle(cascade), BenchOptions(runtimes=("litert:gpu",)))


def test_inspect_shows_the_rule_and_both_files(cascade: Path, cli: Cli, tmp_path: Path) -> None:
    record = tmp_path / "inspect.json"
    done = cli("inspect", cascade, "--json", record)
    assert done.code == 0, done.err
    assert "the small model answers from a top probability of 60 % on" in done.out
    content = json.loads(record.read_text())
    assert (content["small"]["file"], content["full"]["file"]) == ("small-int8.tflite", "full-int8.tflite")


def test_the_model_card_says_which_model_answers_when(fresh_cascade: Path) -> None:
    update_card(fresh_cascade)
    text = (fresh_cascade / CARD).read_text()
    assert "where its top probability is below 0.6, `full-int8.tflite` answers" in text
    assert "read as 71 x 71 or 96 x 96 grey values" in text
    assert listed_artifacts(fresh_cascade)[0].name == "cascade-int8.tflite"


@pytest.mark.parametrize("arguments", [["bundle", "--only", "int8", "--output", "part"], ["web", "--output", "page"]])
def test_commands_that_run_only_one_model_refuse_the_bundle(cascade: Path, cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, "--bundle", cascade)
    assert done.code == 2
    assert "a cascade" in done.err


def test_a_cascade_is_not_run_on_an_accelerator(cascade: Path) -> None:
    (artifact,) = listed_artifacts(cascade)
    with pytest.raises(Exception, match="a cascade runs on the CPU"):
        load_artifact(artifact, runtime_named("litert:gpu"), 1)


def test_the_service_says_which_model_answered(cascade: Path, pictures: list[Path]) -> None:
    spec = importlib.util.spec_from_file_location("cxr_watch", EXAMPLES / "pi-service" / "cxr_watch.py")
    assert spec is not None
    assert spec.loader is not None
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    classifier = Classifier.open(cascade, "litert")
    assert [service.answer(classifier, path)["answered_by"] for path in pictures[:2]] == ["full", "small"]


def test_an_example_that_runs_one_file_refuses_those_of_a_cascade(cascade: Path, pictures: list[Path]) -> None:
    command = [sys.executable, EXAMPLES / "classify_tflite.py", cascade / "small-int8.tflite", pictures[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "a model of a cascade" in done.stderr


def _threshold(content: dict[str, Any]) -> None:
    content["cascade"]["threshold"] = 0.5


def _threshold_with_a_fresh_digest(content: dict[str, Any]) -> None:
    content["cascade"]["threshold"] = 0.5
    resealed(content)


def _threshold_out_of_range(content: dict[str, Any]) -> None:
    content["cascade"]["threshold"] = content["cascade"]["fitted"]["threshold"] = 1.5
    resealed(content)


def _swapped(content: dict[str, Any]) -> None:
    content["cascade"] |= {"small": content["cascade"]["full"], "full": content["cascade"]["small"]}
    resealed(content)


def _other_labels(content: dict[str, Any]) -> None:
    content["artifacts"][0]["shared"]["labels"] = ["COVID-19", "b", "c"]
    resealed(content)


def _other_split(content: dict[str, Any]) -> None:
    content["artifacts"][0]["shared"]["training"]["data_sha256"] = "0" * 64
    resealed(content)


def _overlooked(content: dict[str, Any]) -> None:
    del content["cascade"]
    content["schema"] = 2


def _as_the_schema_before(content: dict[str, Any]) -> None:
    content["schema"] = 2


def _better_figures(content: dict[str, Any]) -> None:
    content["cascade"]["fitted"]["differing"]["at_most"] = 0.0


FORGERIES = (
    (_threshold, "threshold cannot be 0.5, which was fitted to be 0.6"),
    (_threshold_with_a_fresh_digest, "threshold cannot be 0.5, which was fitted to be 0.6"),
    (_threshold_out_of_range, "threshold cannot be 1.5"),
    (_swapped, "shared cannot be that of small-int8.tflite"),
    (_other_labels, "labels"),
    (_other_split, "data_sha256 cannot be two splits"),
    (_overlooked, "shared cannot be that of small-int8.tflite"),
    (_as_the_schema_before, "schema cannot be 2"),
    (_better_figures, "its threshold, files or figures were changed"),
)


@pytest.mark.parametrize(("change", "reason"), FORGERIES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_forged_manifest_is_refused(
    fresh_cascade: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(ArtifactError, match=reason):
        Classifier.open(edited(fresh_cascade, change), "litert")


def test_the_full_models_file_in_place_of_the_small_ones_is_refused(fresh_cascade: Path) -> None:
    (fresh_cascade / "small-int8.tflite").write_bytes((fresh_cascade / "full-int8.tflite").read_bytes())
    with pytest.raises(ArtifactError, match="SHA-256"):
        Classifier.open(fresh_cascade, "litert")


def test_the_manifest_conforms_to_its_schema(cascade: Path) -> None:
    content = json.loads((cascade / MANIFEST).read_text())
    assert not faults("manifest", content)
    assert not faults("cascade-fit", content["cascade"]["fitted"])


def test_a_signed_cascade_is_packed_installed_and_rolled_back(
    tmp_path: Path, cli: Cli, keys: tuple[Path, Path], pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXR_EDGE_REQUIRE_SIGNATURE", "unset")
    monkeypatch.delenv("CXR_EDGE_REQUIRE_SIGNATURE")
    monkeypatch.setattr("cxr_edge.updates.proof.all_runtimes", lambda: (runtime_named("litert"),))
    (private, public), into = keys, tmp_path / "models"
    folder = write_cascade(tmp_path / "bundle")
    for version in (1, 2):
        assert cli("release", folder, "--key", private, "--name", "ward", "--version", version).code == 0
        assert cli("pack", folder, "--output", tmp_path / f"{version}.zip").code == 0
        done = cli("install", tmp_path / f"{version}.zip", "--into", into, "--require-signature", public)
        assert done.code == 0, done.err
    assert {path.name for path in folder.iterdir()} >= {SMALL_REFERENCES, "small-int8.tflite"}
    assert Classifier.open(into, "litert").artifact.name == "cascade-int8.tflite"
    assert cli("rollback", into, "--require-signature", public).code == 0

    def forge(content: dict[str, Any]) -> None:
        content["cascade"]["threshold"] = content["cascade"]["fitted"]["threshold"] = 0.5
        resealed(content)

    arguments = ("predict", pictures[0], "--runtime", "litert", "--require-signature", public, "--bundle", folder)
    assert cli(*arguments).code == 0
    edited(folder, forge)
    assert listed_artifacts(folder)
    done = cli(*arguments)
    assert done.code == 2
    assert "changed after its release" in done.err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": ("a", "b", "c")}, "different labels"),
        ({"training": replace(some_metadata().training, data_sha256="0" * 64)}, "different splits of the data"),
        ({"imaging": replace(some_metadata().imaging, resize="pad")}, "different rules of reading images"),
        ({"reference_outputs": None}, "different reference inputs"),
    ],
)
def test_two_models_that_do_not_go_together_are_refused(
    cascade: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    (artifact,) = listed_artifacts(cascade)
    small, full = artifact.members
    require_fit_together(small, full)
    with pytest.raises(ArtifactError, match=reason):
        require_fit_together(replace(small, metadata=replace(small.metadata, **changes)), full)


def test_two_runs_become_one_bundle_that_is_verified_against_keras(bundle: Path, tmp_path: Path, cli: Cli) -> None:
    left_out = shutil.ignore_patterns("*float32*", "*fp16*", "*.onnx", "quantized")
    small, full = (Path(shutil.copytree(bundle.parent, tmp_path / name, ignore=left_out)) for name in ("small", "full"))
    record = tmp_path / "cascade.json"
    done = cli("cascade", "--small", small, "--full", full, "--min-agreement", "0.9", "--json", record)
    assert done.code == 0, done.err
    (row,) = json.loads(record.read_text())
    (artifact,) = listed_artifacts(full / "bundle-cascade")
    (alone,) = (own for own in listed_artifacts(full / "bundle") if own.name == "xception-int8.tflite")
    # The same model twice: whoever answers, the figures are the model's own.
    assert row["accuracy"] == alone.metadata.parity.result.accuracy
    assert isinstance(artifact, Cascade)
    assert artifact.entry.fitted["validation"]["differing"] == 0
    assert artifact.small.sha256 == artifact.full.sha256 == alone.sha256
    again = cli("cascade", "--small", small, "--full", full)
    assert again.code == 2
    assert "exists already" in again.err
    done = cli("verify", "--run", full, "--train-images", 6, "--shift-images", 3, "--json", record)
    assert done.code == 0, done.err
    assert [own["artifact"] for own in json.loads(record.read_text())] == ["cascade-int8.tflite"]
    assert done.out.startswith("COVID-19: sensitivity ")


# How the threshold is fitted.


def answers(count: int, wrong: tuple[float, ...] = (), confidence: float = 0.9) -> Answers:
    """Both models are right on `count` images of three classes in turn, but for some, where the small one is wrong with
    the given confidences."""
    targets = np.arange(count) % 3
    full = np.full((count, 3), 0.01, np.float32)
    full[np.arange(count), targets] = 0.98
    small = np.full((count, 3), (1 - confidence) / 2, np.float32)
    small[np.arange(count), targets] = confidence
    for index, own in enumerate(wrong):
        small[index] = (1 - own) / 2
        small[index, (targets[index] + 1) % 3] = own
    return Answers(small, full, targets)


def rule(images: Answers, sensitivity: float = 0.95) -> OperatingRecord:
    point = OperatingPoint("COVID-19", 0.1, 0.5)
    count = int((images.targets == 0).sum())
    missed = Promise.by_order_statistic(count, round(1 - sensitivity, 9))
    fitted = FittedPoint(point, Basis.VALIDATION, missed, Promise.by_order_statistic(count, 0.02))
    return OperatingRecord(fitted, operating_figures(point, images.full, images.targets, LABELS))


def fitted(
    images: Answers,
    decided_by: OperatingRecord | None = None,
    *,
    agreement: float = 0.995,
    shifted: dict[str, Answers] | None = None,
    shifted_agreement: float = 0.9,
) -> CascadeFit:
    demands = CascadeDemands(agreement, shifted_agreement)
    return fit_cascade(images, shifted or {}, images, LABELS, decided_by, demands)


def test_the_threshold_lies_above_the_mistakes_but_for_as_many_as_the_promise_allows() -> None:
    images = answers(1200, wrong=(0.89, 0.8, 0.7))
    # Of 1200 images, one may differ for a bound of 0.5 % with 95 % confidence.
    fit = fitted(images)
    assert (fit.differing.kind, fit.differing.allowed) == (PromiseKind.GUARANTEED, 1)
    assert fit.threshold == 0.801
    assert (fit.validation.differing, fit.validation.escalated) == (1, 2)
    assert 1 - fit.differing.at_most >= 0.995


def test_the_accuracy_is_compared_with_the_full_models_image_by_image() -> None:
    images = answers(400, wrong=(0.95, 0.95, 0.95))
    full = images.full.copy()
    # Only the small model is right here.
    full[10] = np.roll(full[10], 1)
    figures = fitted(Answers(images.small, full, images.targets), agreement=0.9).test
    assert (figures.escalated, figures.differing, figures.lost, figures.right) == (0, 4, 3, 397)
    difference = accuracy_less_full(figures)
    assert difference is not None
    assert difference.value is not None
    assert difference.value == pytest.approx(-2 / 400)
    right = images.small.argmax(axis=1) == images.targets
    assert difference.lost_at_most == paired_difference(full.argmax(axis=1) == images.targets, right).lost_at_most
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low < difference.value < difference.high
    assert accuracy_less_full(replace(figures, lost=None)) is None
    assert summed([figures, figures]).lost == 6
    assert summed([figures, replace(figures, lost=None)]).lost is None


def test_with_few_images_the_best_available_promise_is_named() -> None:
    images = answers(300, wrong=(0.7,))
    fit = fitted(images)
    assert fit.differing.kind is PromiseKind.BEST_AVAILABLE
    assert fit.validation.differing == 0
    (warning,) = fit.warnings
    assert "with 300 validation images, at most 99.0 % can be promised; it takes 598 of them" in warning


def test_a_sensitive_class_that_the_small_model_misses_raises_the_threshold() -> None:
    images = answers(3000)
    # Its class is the full model's, but Normal is called for COVID-19 images where it is nearly as likely.
    missed = np.arange(0, 300, 3)
    images.small[missed] = np.float32([0.05, 0.75, 0.2])
    images.full[missed] = np.float32([0.4, 0.5, 0.1])
    lenient = fitted(images, rule(images, 0.8))
    strict = fitted(images, rule(images))
    assert lenient.threshold <= 0.75 < strict.threshold
    assert strict.missed is not None
    assert strict.validation.missed == 0
    assert 1 - strict.missed.at_most >= 0.95


def test_no_threshold_where_the_small_model_errs_with_most_confidence() -> None:
    images = answers(600, wrong=(0.95, 0.94))
    with pytest.raises(GateError, match="no threshold keeps what is demanded"):
        fitted(images)


def test_the_threshold_is_at_least_a_half() -> None:
    images = answers(900, confidence=0.45)
    images.small[0] = np.float32([0.9, 0.05, 0.05])
    assert fitted(images, agreement=0.99).threshold == 0.5


def test_the_shift_on_which_the_small_model_errs_most_confidently_raises_the_threshold() -> None:
    images = answers(600, confidence=0.95)
    # Of 600 images, 47 may differ for a bound of 10 % with 95 % confidence.
    shifted = {"blur": answers(600, wrong=(0.7,) * 48), "jpeg": answers(600, wrong=(0.85, *[0.8] * 47, 0.75))}
    fit = fitted(images, shifted=shifted)
    assert fit.threshold == 0.801
    assert fit.unshifted_threshold == 0.5
    blur, jpeg = fit.shifts
    assert (blur.shift, blur.threshold, blur.differing.allowed) == ("blur", 0.7, 47)
    assert (jpeg.shift, jpeg.threshold, jpeg.figures.differing, jpeg.figures.escalated) == ("jpeg", 0.801, 1, 48)
    assert jpeg.differing.kind is PromiseKind.GUARANTEED
    assert "at least 90.1 % under each shift (guaranteed)" in fit.promise
    assert fitted(images, shifted=shifted, shifted_agreement=0.5).threshold == 0.5


def test_a_shift_that_makes_the_cascade_slow_is_named() -> None:
    images = answers(600)
    images.small[::3] = np.float32([0.8, 0.1, 0.1])
    jpeg = answers(600, wrong=(0.85,) * 60)
    (warning,) = fitted(images, shifted={"jpeg": jpeg}).warnings
    assert warning.startswith("33 % of the validation images go on to the full model")
    assert '"jpeg"' in warning
    assert not fitted(images).warnings
    with pytest.raises(GateError, match=r'under "jpeg".*lower --min-shifted-agreement'):
        fitted(images, shifted={"jpeg": answers(600, wrong=(0.95,) * 60)})


def test_a_fit_of_an_earlier_version_has_no_shifts() -> None:
    images = answers(1200)
    record = to_json(fitted(images, shifted={"jpeg": images}))
    del record["shifts"], record["unshifted_threshold"]
    assert cascade_fit_of(record).shifts == ()
