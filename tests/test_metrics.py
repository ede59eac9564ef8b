"""Metrics agree with scikit-learn, and parity's gate decides at its bounds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.parity import Gate, parity

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
    found = classification_metrics(targets, probabilities, LABELS)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(targets, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(targets, predicted))
    assert found["confusion_matrix"] == reference.confusion_matrix(targets, predicted).tolist()
    auc = reference.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    assert found["macro_auc"] == pytest.approx(auc)
    wanted = reference.precision_recall_fscore_support(targets, predicted)
    for index, row in enumerate(found["classes"]):
        figures = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert figures == pytest.approx([column[index] for column in wanted])


def test_a_class_that_does_not_occur_has_no_figures() -> None:
    found = classification_metrics(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]], LABELS)
    assert found["classes"][2]["recall"] is None
    assert found["classes"][2]["auc"] is None
    assert found["accuracy"] == 1


def shifted(flips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """100 images the reference has right, and a candidate that gets `flips` of them wrong."""
    targets = np.zeros(100, dtype=np.int64)
    expected = np.tile(np.float32([0.8, 0.1, 0.1]), (100, 1))
    found = expected.copy()
    found[:flips] = [0.1, 0.8, 0.1]
    return expected, found, targets


def test_parity_counts_flips_and_judges() -> None:
    passed = parity(*shifted(2), Gate(min_agreement=0.98, max_accuracy_drop=0.02))
    assert passed["verdict"] == "passed"
    assert passed["agreement"] == pytest.approx(0.98)
    assert passed["largest_difference"] == pytest.approx(0.7)
    assert parity(*shifted(3), Gate(min_agreement=0.98, max_accuracy_drop=0.5))["verdict"] == "failed"
    assert parity(*shifted(3), Gate(min_agreement=0.5, max_accuracy_drop=0.02))["verdict"] == "failed"


def test_parity_fails_on_what_is_not_a_number() -> None:
    expected, found, targets = shifted(0)
    found[5] = np.nan
    assert parity(expected, found, targets, Gate(0.0, 1.0))["verdict"] == "failed"
