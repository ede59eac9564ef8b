"""Metrics agree with scikit-learn, and parity's gate decides at its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from cxr_edge.artifacts.gate import Gate
from cxr_edge.evaluation.metrics import ClassificationMetrics, classification_metrics
from cxr_edge.evaluation.temperature import apply_temperature, fit_temperature
from cxr_edge.records import to_json
from cxr_edge.statistics.parity import flipped, parity

LABELS = ("a", "b", "c")


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3)).round(1)
    logits[np.arange(200), targets] += 1
    return targets, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_metrics_agree_with_scikit_learn(scored: tuple[np.ndarray, np.ndarray]) -> None:
    targets, probabilities = scored
    predicted = probabilities.argmax(axis=1)
    metrics = classification_metrics(targets, probabilities, LABELS)
    record = to_json(metrics)
    assert ClassificationMetrics.from_json(record) == metrics
    assert record["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert record["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, predicted))
    assert record["confusion_matrix"] == reference.confusion_matrix(targets, predicted).tolist()
    auc = reference.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert record["macro_auc"] == pytest.approx(auc)
    expected = reference.precision_recall_fscore_support(targets, predicted)
    for index, row in enumerate(record["classes"]):
        figures = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert figures == pytest.approx([column[index] for column in expected])


def test_a_class_without_images_has_no_metrics() -> None:
    metrics = classification_metrics(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]], LABELS)
    assert metrics.classes[2].recall.value is None
    assert metrics.classes[2].auc is None
    assert metrics.accuracy.value == metrics.balanced_accuracy.value == 1


def shifted(flips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 images the reference has right, and a candidate that gets `flips` of them wrong."""
    targets = np.zeros(100, dtype=np.int64)
    expected = np.tile(np.float32([0.8, 0.1, 0.1]), (100, 1))
    candidate = expected.copy()
    candidate[:flips] = [0.1, 0.8, 0.1]
    return expected, candidate, targets


def test_parity_counts_flips_and_gives_a_verdict() -> None:
    loose = {"max_accuracy_drop": 1.0, "max_sensitivity_drop": 1.0}
    result = parity(*shifted(2), LABELS, Gate(min_agreement=0.9, **loose))
    assert result.verdict == "passed"
    assert result.agreement == pytest.approx(0.98)
    assert result.largest_difference == pytest.approx(0.7)
    # 98 of 100 is over 0.95, and not shown to be: Wilson's interval begins at 0.93.
    assert parity(*shifted(2), LABELS, Gate(min_agreement=0.95, **loose)).verdict == "not enough images"
    assert parity(*shifted(3), LABELS, Gate(min_agreement=0.98, **loose)).verdict == "failed"
    assert parity(*shifted(3), LABELS, Gate(0.5, 0.02, 1.0)).verdict == "failed"
    assert parity(*shifted(3), LABELS, Gate(0.5, 1.0, 0.02)).verdict == "failed"


def test_no_loss_in_few_images_proves_little() -> None:
    # The rule of three: none of 100 lost shows a loss of under 3 per cent, not of under 2.
    assert parity(*shifted(0), LABELS, Gate(0.9, 0.03, 0.03)).verdict == "passed"
    result = parity(*shifted(0), LABELS, Gate(0.9, 0.02, 0.03))
    assert result.verdict == "not enough images"
    (undecided,) = [demand for demand in result.demands if demand.verdict != "passed"]
    assert undecided.name == "accuracy drop"
    assert undecided.bound == pytest.approx(1 - 0.05 ** (1 / 100))


def test_a_drop_in_one_small_class_is_seen() -> None:
    targets = np.repeat([0, 1], [190, 10])
    expected = np.eye(3, dtype=np.float32)[targets]
    candidate = expected.copy()
    candidate[190:193] = [1, 0, 0]
    result = parity(expected, candidate, targets, LABELS, Gate(0.9, 0.05, 0.05))
    failed = [demand.name for demand in result.demands if demand.verdict == "failed"]
    assert failed == [f"sensitivity drop, {LABELS[1]}"]
    row = result.classes[1]
    assert row.sensitivity.artifact.value == pytest.approx(0.7)
    assert row.sensitivity.difference.value == pytest.approx(-0.3)
    assert row.specificity.difference.value == 0
    assert result.classes[0].specificity.artifact.value == pytest.approx(0.7)
    assert result.classes[2].sensitivity.artifact.value is None


def test_intervals_and_tests_agree_with_a_reference() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(300) < 0.9, random.random(300) < 0.85
    targets = np.zeros(300, dtype=np.int64)
    expected, candidate = (np.eye(3, dtype=np.float32)[(~right).astype(int)] for right in (first, second))
    result = parity(expected, candidate, targets, LABELS, Gate())
    interval = result.intervals.accuracy_difference
    spread = np.std(second.astype(float) - first, ddof=1) / np.sqrt(300)
    assert interval.value == pytest.approx(second.mean() - first.mean())
    assert interval.low == pytest.approx(interval.value - 1.96 * spread, abs=0.01)
    assert interval.high == pytest.approx(interval.value + 1.96 * spread, abs=0.01)
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    tail = sum(math.comb(lost + won, k) for k in range(max(lost, won), lost + won + 1)) / 2 ** (lost + won)
    assert result.mcnemar.p_value == pytest.approx(min(1.0, 2 * tail))
    assert (result.mcnemar.only_reference_right, result.mcnemar.only_artifact_right) == (lost, won)


def test_divergence_and_calibration_error() -> None:
    targets = np.array([0] * 80 + [1] * 20)
    honest = np.tile(np.float32([0.8, 0.1, 0.1]), (100, 1))
    overconfident = np.tile(np.float32([0.98, 0.01, 0.01]), (100, 1))
    result = parity(honest, overconfident, targets, LABELS, Gate())
    assert result.calibration_error.reference == pytest.approx(0, abs=1e-6)
    assert result.calibration_error.artifact == pytest.approx(0.18, abs=1e-6)
    divergence = 0.8 * math.log(0.8 / 0.98) + 0.2 * math.log(0.1 / 0.01)
    assert result.divergence == pytest.approx(divergence, abs=1e-5)


def test_flipped_images_are_named_with_both_answers() -> None:
    expected, candidate, targets = shifted(2)
    rows = flipped(expected, candidate, targets, LABELS, [f"{index}.png" for index in range(100)])
    assert [row.image for row in rows] == ["0.png", "1.png"]
    assert rows[0].label == LABELS[0]
    assert rows[0].reference == pytest.approx([0.8, 0.1, 0.1])
    assert rows[0].artifact == pytest.approx([0.1, 0.8, 0.1])


def test_parity_fails_on_nan() -> None:
    expected, candidate, targets = shifted(0)
    candidate[5] = np.nan
    assert parity(expected, candidate, targets, LABELS, Gate(0.0, 1.0, 1.0)).verdict == "failed"


def test_temperature_scaling_calibrates_probabilities() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3)) * 2
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in honest])
    overconfident = apply_temperature(honest, 0.5)
    assert fit_temperature(overconfident, targets) == pytest.approx(2, rel=0.05)
    assert np.abs(apply_temperature(overconfident, 2) - honest).max() < 1e-4
    assert np.array_equal(apply_temperature(overconfident, 3).argmax(axis=1), overconfident.argmax(axis=1))
    result = parity(honest.astype(np.float32), honest.astype(np.float32), targets, LABELS, Gate(), temperature=2)
    assert result.calibration_error.reference < 0.03
    assert result.calibration_error.artifact_unscaled > 0.08


def test_the_temperature_stays_above_zero_without_mistakes() -> None:
    """The likelihood alone would lead to a temperature of 0; 81 images must lead less far towards it than 2430."""
    targets = np.array([0, 1, 2] * 27)
    right = (np.eye(3)[targets] * 0.88 + 0.04).astype(np.float32)
    few, many = fit_temperature(right, targets), fit_temperature(np.tile(right, (30, 1)), np.tile(targets, 30))
    assert 0.26 < many < 0.8 * few < 0.8
    assert apply_temperature(right, few).max() < 0.999


def test_without_evidence_a_temperature_changes_nothing() -> None:
    assert fit_temperature(np.full((9, 3), 1 / 3), np.arange(9) % 3) == pytest.approx(1, abs=1e-3)
    assert fit_temperature(np.eye(3, dtype=np.float32), np.arange(3)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_enough_mistakes_outweigh_the_prior(scale: float) -> None:
    """On a validation split of the usual size the temperature is all but that of maximum likelihood."""
    random = np.random.default_rng(1)
    logits = random.normal(size=(400, 3)) * 3
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([random.choice(3, p=row) for row in honest])
    probabilities = apply_temperature(honest, scale)
    grid = np.exp(np.linspace(np.log(0.2), np.log(5), 2000))
    rows = np.arange(len(targets))
    likelihoods = [np.log(apply_temperature(probabilities, temperature)[rows, targets]).sum() for temperature in grid]
    likeliest = grid[int(np.argmax(likelihoods))]
    assert fit_temperature(probabilities, targets) == pytest.approx(likeliest, rel=0.03)
