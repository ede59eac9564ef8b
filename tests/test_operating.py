"""Operating points: the class that must not be missed, and what is left to a radiologist."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cxr_edge.artifacts.bundle import read_manifest
from cxr_edge.evaluation.operating import REFER, OperatingPoint, fit_operating_point, operating_figures
from cxr_edge.runs import Run
from tests.conftest import Cli

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")


@pytest.fixture
def validation() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right for the most part, and least so where they are unsure; and the targets."""
    random = np.random.default_rng(1)
    targets = random.integers(0, 3, 600)
    logits = random.normal(size=(600, 3)) * 1.2
    logits[np.arange(600), targets] += 3.5
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), targets


@pytest.mark.parametrize("wanted", [0.8, 0.95, 1.0])
def test_threshold_reaches_the_wanted_sensitivity_and_not_more(
    validation: tuple[np.ndarray, np.ndarray], wanted: float
) -> None:
    probabilities, targets = validation
    point = fit_operating_point(probabilities, targets, LABELS, "COVID-19", wanted)
    positive = probabilities[targets == 0, 0]
    assert (positive >= point.threshold).mean() >= wanted
    if point.threshold < 0.5:
        assert (positive >= point.threshold + 1e-3).mean() < wanted + 2 / len(positive)


def test_abstaining_makes_what_is_decided_right(validation: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, targets = validation
    point = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.95)
    found = operating_figures(point, probabilities, targets, LABELS)
    assert found["accuracy"] >= 0.99
    assert 0.5 <= found["coverage"] < 1
    without = operating_figures(OperatingPoint("COVID-19", point.threshold, 0.0), probabilities, targets, LABELS)
    assert without["accuracy"] < found["accuracy"]
    # An image that is referred is not missed.
    assert found["called"] <= found["sensitivity"]
    assert found["sensitivity"] >= 0.95


def test_a_class_is_called_below_the_top(validation: tuple[np.ndarray, np.ndarray]) -> None:
    point = OperatingPoint("COVID-19", 0.3, 0.4)
    called, referred = point.decide(
        np.array([[0.32, 0.6, 0.08], [0.45, 0.5, 0.05], [0.2, 0.1, 0.7], [0.29, 0.35, 0.36]]), LABELS
    )
    assert called.tolist() == [0, 0, 2, 2]
    assert referred.tolist() == [True, False, False, True]


def test_nothing_is_referred_where_nothing_is_wrong() -> None:
    targets = np.array([0, 1, 2] * 20)
    point = fit_operating_point(np.eye(3)[targets] * 0.7 + 0.1, targets, LABELS, "COVID-19", 0.95)
    assert (point.threshold, point.refer_below) == (0.5, 0.0)


def test_the_bundle_has_one_and_predict_and_evaluate_use_it(run: Run, bundle: Path, cli: Cli, tmp_path: Path) -> None:
    stored = read_manifest(bundle).artifacts[0].operating_point
    assert stored["label"] == "COVID-19"
    assert stored["sensitivity"] >= stored["wanted_sensitivity"] == 0.95
    point = OperatingPoint(stored["label"], stored["threshold"], stored["refer_below"])
    pictures = [path for folder in sorted((run.folder / "phantoms").iterdir()) for path in sorted(folder.iterdir())[:8]]
    output = tmp_path / "x.json"
    assert cli("predict", *pictures, "--bundle", bundle, "--json", output).code == 0
    result = json.loads(output.read_text())
    for row in result["rows"]:
        (called,), (referred,) = point.decide(np.array([row["probabilities"]]), LABELS)
        assert row["decision"] == (REFER if referred else LABELS[called])
    evaluated = cli("evaluate", bundle / "xception-int8.tflite", "--run", run.folder, "--json", output)
    assert evaluated.code == 0
    found = json.loads(output.read_text())["operating_point"]
    assert found["images"] == 81
    assert 0.5 < found["coverage"] <= 1
    assert "operating point" in evaluated.out


@pytest.mark.parametrize("arguments", [["--sensitive-class", "Fracture"], ["--sensitivity", "95"]])
def test_bad_operating_options(run: Run, cli: Cli, arguments: list[str]) -> None:
    result = cli("export", "--run", run.folder, *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
