"""Agreement without labels: what it sees, what the gate says of it, and on which images it is measured."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.parity_result import ALL_PARTS, ALL_SHIFTS, ParityResult
from cxr_edge.data.layouts import DEFAULT_LABELS
from cxr_edge.errors import DataError
from cxr_edge.evaluation.advice import advise
from cxr_edge.evaluation.conditions import Condition, balanced_sample, read_other_images
from cxr_edge.evaluation.logits import EXACT_DB, INT8_FLOOR, centred_logits, signal_to_noise
from cxr_edge.evaluation.shifts import SUITE, Shift
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.records import from_json, to_json
from cxr_edge.statistics.agreement import compare_conditions, judge_conditions, scored_conditions
from cxr_edge.statistics.intervals import paired_difference, sign_test
from cxr_edge.statistics.parity import parity, with_conditions

LABELS = DEFAULT_LABELS
SHIFTS: tuple[Shift | None, ...] = (None, *SUITE[:3])
IMAGES = 150


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


def logits_of(seed: int, sure: float = 6.0) -> NDArray[np.float64]:
    """`[150, 3]`: a third of each class, named as such with some doubt."""
    random = np.random.default_rng(seed)
    return random.normal(size=(IMAGES, 3)) * 2 + sure * np.eye(3)[np.arange(IMAGES) % 3]


def conditions() -> list[Condition]:
    nothing = np.zeros((IMAGES, 1, 1, 1), np.uint8)
    parts = [("test", shift) for shift in SHIFTS] + [("validation", shift) for shift in SHIFTS[1:]]
    return [Condition(part, shift, nothing, np.arange(IMAGES)) for part, shift in parts]


def results(noise: float, drift: float = 0.0, under: str | None = None) -> ParityResult:
    """An artifact with noise in its logits, and those of COVID-19 too low by `drift`, under one shift or all."""
    random = np.random.default_rng(99)
    reference, candidate = [], []
    for number, condition in enumerate(conditions()):
        logits = logits_of(number, sure=3.0 if condition.shift else 6.0)
        reference.append(softmax(logits))
        here = condition.shift is not None and under in (None, condition.shift.name)
        off = random.normal(size=logits.shape) * noise - (drift * np.array([1, 0, 0]) if here else 0)
        candidate.append(softmax(logits + off))
    labelled = parity(reference[0], candidate[0], np.arange(IMAGES) % 3, LABELS, Gate())
    return with_conditions(labelled, compare_conditions(scored_conditions(conditions(), reference, candidate), LABELS))


def failed(result: ParityResult) -> set[tuple[str, str | None]]:
    return {(demand.name, demand.condition) for demand in result.demands if demand.verdict == "failed"}


def test_rounding_of_a_good_int8_passes_every_demand() -> None:
    result = results(noise=0.1)
    assert failed(result) == set()
    assert result.conditions[0].agreement.value > 0.98


def test_a_drift_away_from_one_class_fails_and_names_the_condition() -> None:
    result = results(noise=0.1, drift=2.0, under="noise")
    assert result.verdict == "failed"
    assert ("class loss, COVID-19", "noise") in failed(result)
    assert not any(condition in ("darker", "brighter") for _, condition in failed(result))
    drifted = result.condition(ALL_PARTS, "noise")
    assert drifted is not None
    assert drifted.flips[0].away >= 10 > drifted.flips[0].towards


def test_pooling_all_shifts_detects_a_small_drift() -> None:
    result = results(noise=0.1, drift=0.45)
    assert {condition for name, condition in failed(result) if name == "class loss, COVID-19"} >= {ALL_SHIFTS}


@pytest.mark.parametrize(("away", "towards", "fails"), [(5, 0, False), (6, 0, True), (7, 1, False), (31, 4, True)])
def test_a_class_loss_fails_only_beyond_chance_among_three_classes(away: int, towards: int, fails: bool) -> None:
    reference = softmax(logits_of(0, sure=12.0))
    candidate = reference.copy()
    candidate[: 3 * away : 3] = [0, 1, 0]
    candidate[1 : 1 + 3 * towards : 3] = [1, 0, 0]
    condition = Condition("other", None, np.zeros((IMAGES, 1, 1, 1), np.uint8), np.arange(IMAGES))
    judged = judge_conditions(
        compare_conditions(scored_conditions([condition], [reference], [candidate]), LABELS), Gate()
    )
    verdicts = {demand.name: demand.verdict for demand in judged}
    assert (verdicts["class loss, COVID-19"] == "failed") == fails


def test_flips_that_go_either_way_are_no_drift() -> None:
    result = results(noise=1.0)
    assert not any(name.startswith("class loss") for name, _ in failed(result))


def test_a_collapsed_artifact_fails_on_images_as_they_are() -> None:
    random = np.random.default_rng(5)
    reference = [softmax(logits_of(number)) for number in range(len(conditions()))]
    collapsed = [softmax(random.normal(size=(IMAGES, 3))) for _ in reference]
    demands = judge_conditions(
        compare_conditions(scored_conditions(conditions(), reference, collapsed), LABELS), Gate()
    )
    assert {"all parts", "darker"} <= {demand.condition for demand in demands if demand.verdict == "failed"}


def test_copies_of_an_image_count_once() -> None:
    """Ten of 150 images lost under each of three shifts are ten, not thirty."""
    reference = [softmax(logits_of(0, sure=9.0))] * 4
    turned = reference[0].copy()
    turned[:30:3] = [0, 1, 0]
    candidate = [reference[0], *[turned] * 3]
    comparisons = compare_conditions(scored_conditions(conditions()[:4], reference, candidate), LABELS)
    pooled = next(comparison for comparison in comparisons if comparison.shift == ALL_SHIFTS)
    alone = next(
        comparison for comparison in comparisons if (comparison.part, comparison.shift) == (ALL_PARTS, "noise")
    )
    assert pooled.images == 3 * alone.images
    assert pooled.flips[0] == alone.flips[0]
    assert (pooled.flips[0].away, pooled.flips[1].towards) == (10, 10)
    assert pooled.agreement == alone.agreement


def test_nan_outputs_agree_with_nothing_and_fail() -> None:
    reference = [softmax(logits_of(0))] * 4
    broken = [*reference[:3], np.full_like(reference[3], np.nan)]
    comparisons = compare_conditions(scored_conditions(conditions()[:4], reference, broken), LABELS)
    assert comparisons[3].agreement.value == 0
    assert comparisons[3].signal_to_noise_db is None
    labelled = parity(reference[0], reference[0], np.arange(IMAGES) % 3, LABELS, Gate(0, 1, 1, 0, 1))
    assert with_conditions(labelled, comparisons).verdict == "failed"


def test_a_result_survives_its_json_and_older_ones_are_read() -> None:
    result = results(noise=0.2)
    text = json.dumps(to_json(result), allow_nan=False)
    assert from_json(ParityResult, json.loads(text)) == result
    older = {key: value for key, value in json.loads(text).items() if key not in ("suite", "conditions")}
    older["gate"] = {"min_agreement": 0.97, "max_accuracy_drop": 0.01, "max_sensitivity_drop": 0.05}
    read = from_json(ParityResult, older)
    assert (read.conditions, read.suite, read.gate.min_agreement) == ((), None, 0.97)


def test_the_advised_artifact_is_the_one_nearer_to_keras_unless_it_failed() -> None:
    def row(label: str, result: ParityResult) -> VerifiedArtifact:
        return VerifiedArtifact(f"xception-{label}.onnx", 1, "ONNX Runtime", "test", result)

    near, far, drifted = results(noise=0.1), results(noise=0.5), results(noise=0.01, drift=2.0, under="noise")
    advice = advise([row("float32", near), row("int8", far), row("int8-ptq", near)])
    assert advice is not None
    assert advice.advised == "int8-ptq"
    assert "int8-ptq is recommended: under shift, int8-ptq agrees with Keras on" in advice.why
    advice = advise([row("int8", drifted), row("int8-ptq", far)])
    assert advice is not None
    assert advice.advised == "int8-ptq"
    assert "int8 failed its gate" in advice.why
    assert advise([row("float32", near), row("int8", near)]) is None


def test_nothing_is_advised_between_equal_artifacts() -> None:
    near, rounded = results(noise=0.1), results(noise=0.11)
    rows = [
        VerifiedArtifact(f"xception-{label}.{kind}", 1, "some runtime", "test", result)
        for label in ("int8", "int8-ptq")
        for kind, result in (("onnx", near), ("tflite", rounded))
    ]
    assert advise(rows) is None


def test_signal_to_noise_is_that_of_the_logits_whatever_the_temperature() -> None:
    logits = np.random.default_rng(0).normal(size=(4000, 3)) * 5
    off = logits + np.random.default_rng(1).normal(size=logits.shape) * 0.5
    assert signal_to_noise(softmax(logits), softmax(off)) == pytest.approx(20, abs=0.3)
    assert signal_to_noise(softmax(logits / 3), softmax(off / 3)) == pytest.approx(20, abs=0.3)
    assert signal_to_noise(softmax(logits), softmax(logits)) == EXACT_DB
    # A gap that 1e-7 would cut short is whole.
    assert np.ptp(centred_logits(softmax(np.array([[30.0, 0.0, 0.0]])))) == pytest.approx(30, abs=0.01)
    steps = np.round(softmax(logits) * 256) / 256
    assert np.ptp(centred_logits(steps, INT8_FLOOR), axis=1).max() < 6.3


def test_one_image_bounds_nothing() -> None:
    for right in (True, False):
        difference = paired_difference(np.array([True]), np.array([right]))
        assert (difference.value, difference.low, difference.high) == (right - 1, -1, 1)


def test_the_interval_of_many_images_takes_little_memory() -> None:
    right = np.random.default_rng(0).random((2, 20_000)) < 0.9
    tracemalloc.start()
    try:
        difference = paired_difference(*right)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert difference.low is not None
    assert difference.low < difference.value < difference.high
    assert peak < 200e6


def test_the_sign_test_is_one_sided_and_exact() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(11, 1) == pytest.approx(13 / 4096)
    assert sign_test(1, 11) > 0.99


def test_a_sample_is_as_balanced_as_possible() -> None:
    targets = np.repeat([0, 1, 2], [5, 100, 200])
    sample = balanced_sample(targets, 45)
    assert np.bincount(targets[sample]).tolist() == [5, 20, 20]
    assert np.array_equal(sample, np.sort(sample))
    assert np.array_equal(sample, balanced_sample(targets, 45))
    assert np.array_equal(balanced_sample(targets, None), np.arange(305))


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(path)
    return path


def test_other_images_may_lie_in_any_folder_or_table(tmp_path: Path) -> None:
    for name in ("classes/COVID/images/a.png", "classes/NORMAL/b.png", "flat/c.png", "strange/Effusion/d.png"):
        written(tmp_path / name)
    (tmp_path / "list.csv").write_text("path\nflat/c.png\n")
    (tmp_path / "labelled.csv").write_text("path,label\nflat/c.png,normal\n")
    (tmp_path / "empty").mkdir()

    def targets(name: str) -> list[int] | None:
        others = read_other_images(tmp_path / name, LABELS, 71, "stretch")
        assert others.images.shape == (len(others.paths), 71, 71, 1)
        return None if others.targets is None else others.targets.tolist()

    assert targets("classes") == [0, 2]
    assert targets("labelled.csv") == [2]
    assert targets("flat") is targets("strange") is targets("list.csv") is None
    (tmp_path / "header.csv").write_text("path\n")
    for missing in ("empty", "nowhere", "header.csv"):
        with pytest.raises(DataError, match=missing):
            targets(missing)


def test_masks_and_stray_files_beside_other_images_are_skipped(tmp_path: Path) -> None:
    # Below a folder that is itself named masks.
    root = tmp_path / "masks"
    for name in ("classes/COVID/images/a.png", "classes/COVID/masks/a.png", "classes/sheet.png", "flat/c.png"):
        written(root / name)
    for name in ("b.png", "masks/b.png"):
        written(root / "strange/Effusion" / name)
    (root / "flat/._c.png").write_bytes(b"what macOS puts beside a copy")

    def paths(name: str) -> tuple[str, ...]:
        return read_other_images(root / name, LABELS, 71, "stretch").paths

    assert paths("classes") == ("COVID/images/a.png",)
    assert paths("strange") == ("Effusion/b.png",)
    assert paths("flat") == ("c.png",)


def test_a_damaged_table_is_refused_rather_than_read_without_labels(tmp_path: Path) -> None:
    written(tmp_path / "a.png")
    (tmp_path / "twice.csv").write_text("path,label\na.png,normal\na.png,normal\n")
    with pytest.raises(DataError, match="already in line 2"):
        read_other_images(tmp_path / "twice.csv", LABELS, 71, "stretch")
