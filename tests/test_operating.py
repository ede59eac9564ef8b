"""Operating points: the rule matches its description, and its promises hold on new images."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import read_manifest, write_manifest
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.evaluation.binomial import clopper_pearson_lower, clopper_pearson_upper, fewest_images, most_exceptions
from cxr_edge.evaluation.operating import REFER, OperatingPoint, operating_point_of
from cxr_edge.evaluation.operating_figures import OperatingFigures, operating_figures
from cxr_edge.evaluation.operating_fit import Basis, FittedPoint, fit_operating_point
from cxr_edge.evaluation.operating_record import OperatingRecord, operating_record_of
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.prediction.evaluation import EvaluatedPoint
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.terminal.operating import show_evaluated_point, show_exported_points
from cxr_edge.runs import Run
from tests.conftest import Cli
from tests.tiny import write_artifact

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")
DOCUMENT = Path(__file__).parents[1] / "docs" / "decision-rule.md"


def drawn(positives: int, others: int, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities whose errors are known: see `true_errors`."""
    sensitive = np.sqrt(random.random(positives))
    first = np.stack([sensitive, (1 - sensitive) * 0.1, (1 - sensitive) * 0.9], axis=1)
    confidence = 1 - random.random(others) ** 2 / 2
    second = np.stack([np.full(others, 1e-9), confidence, 1 - confidence], axis=1)
    right = random.random(others) >= 0.2 * (1 - confidence)
    return np.concatenate([first, second]), np.concatenate([np.zeros(positives), np.where(right, 1, 2)]).astype(int)


def true_errors(point: OperatingPoint) -> tuple[float, float]:
    """Of all images that `drawn` could draw: the share below `suspected_from`, and that of wrong calls."""
    return point.suspected_from**2, 0.2 * (2 * (1 - point.called_from)) ** 1.5 / 6


def test_promises_hold_in_95_of_100_fits_and_a_plain_quantile_in_half() -> None:
    random = np.random.default_rng(0)
    kept, kept_calls, plain, bounds = [], [], [], []
    for _ in range(400):
        probabilities, targets = drawn(120, 1500, random)
        fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.9)
        assert fitted.missed.kind is fitted.wrong_calls.kind is PromiseKind.GUARANTEED
        missed, wrong = true_errors(fitted.point)
        kept.append(missed <= 0.1)
        kept_calls.append(wrong <= 0.02)
        plain.append(np.quantile(probabilities[:120, 0], 0.1) ** 2 <= 0.1)
        bounds.append(missed <= fitted.missed.at_most)
    # The bound is exact: 95 %, within two and a half standard deviations of 400 draws.
    assert np.mean(bounds) == pytest.approx(0.95, abs=0.027)
    assert np.mean(kept) >= np.mean(bounds)
    assert np.mean(kept_calls) >= 0.923
    assert np.mean(plain) < 0.65


@pytest.mark.parametrize(("positives", "allowed"), [(59, 0), (93, 1), (124, 2), (300, 8)])
def test_as_many_images_may_be_missed_as_the_demand_allows(positives: int, allowed: int) -> None:
    probabilities, targets = drawn(positives, 200, np.random.default_rng(1))
    fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.95)
    assert (fitted.missed.kind, fitted.missed.allowed) == (PromiseKind.GUARANTEED, allowed)
    assert (probabilities[:positives, 0] < fitted.point.suspected_from).sum() == allowed
    assert operating_figures(fitted.point, probabilities, targets, LABELS).missed <= allowed


def test_too_few_images_give_the_best_available_promise_and_a_warning() -> None:
    probabilities, targets = drawn(33, 369, np.random.default_rng(1))
    fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.95)
    assert fitted.missed.kind is PromiseKind.BEST_AVAILABLE
    assert 1 - fitted.missed.at_most == pytest.approx(0.05 ** (1 / 33))
    assert (probabilities[:33, 0] >= fitted.point.suspected_from).all()
    record = OperatingRecord(fitted, operating_figures(fitted.point, probabilities, targets, LABELS))
    assert "at least 91.3 % of COVID-19 called or referred (best available)" in record.promise
    (warning,) = record.warnings
    assert "95 % was demanded" in warning
    assert "with 33 COVID-19 images, at most 91.3 % can be promised; it takes 59" in warning


def test_few_but_sufficient_images_give_a_warning_too() -> None:
    probabilities, targets = drawn(33, 369, np.random.default_rng(1))
    fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.9)
    assert fitted.missed.kind is PromiseKind.GUARANTEED
    record = OperatingRecord(fitted, operating_figures(fitted.point, probabilities, targets, LABELS))
    assert ["only 33 COVID-19 images" in line for line in record.warnings] == [True]


def test_no_class_below_one_half_is_called_and_a_perfect_model_refers_nothing() -> None:
    targets = np.array([0, 1, 2] * 100)
    probabilities = np.eye(3)[targets] * 0.7 + 0.1
    fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.95)
    assert (fitted.point.suspected_from, fitted.point.called_from) == (0.5, 0.5)
    assert operating_figures(fitted.point, probabilities, targets, LABELS).referred == 0
    assert fitted.point.decide(np.array([[0.4, 0.45, 0.15]]), LABELS)[1].tolist() == [True]


def test_no_more_than_half_is_referred_for_lack_of_confidence() -> None:
    random = np.random.default_rng(3)
    probabilities, targets = drawn(100, 400, random)
    targets[100:] = random.integers(1, 3, 400)
    fitted = fit_operating_point(probabilities, targets, LABELS, "COVID-19", 0.9)
    assert fitted.wrong_calls.kind is PromiseKind.BEST_AVAILABLE
    figures = operating_figures(fitted.point, probabilities, targets, LABELS)
    assert figures.other_referred <= 200
    assert fitted.wrong_calls.at_most == clopper_pearson_upper(figures.wrong_calls, 400) > 0.2
    # Even where the model is sure of everything, and wrong.
    certain = np.eye(3, dtype=np.float32)[np.where(targets == 0, 0, 1)]
    fitted = fit_operating_point(certain, targets, LABELS, "COVID-19", 0.9)
    assert fitted.point.called_from == 1
    assert fitted.wrong_calls.kind is PromiseKind.BEST_AVAILABLE


def random_points(random: np.random.Generator) -> list[OperatingPoint]:
    thresholds = random.random((40, 2)).round(2)
    return [OperatingPoint("COVID-19", *pair) for pair in [*thresholds.tolist(), [0.5, 0.0], [0.3, 0.3], [0.0, 0.5]]]


def test_the_code_in_the_documentation_decides_as_the_package_does() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert code.count("\n") <= 11
    space: dict[str, Callable[..., str]] = {}
    exec(code, space)
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([0.6, 0.6, 0.6], 300).round(2).astype(np.float32)
    labels = ("Normal", "COVID-19", "Viral Pneumonia")
    for point in random_points(random):
        called, referred = point.decide(probabilities, labels)
        for row, index, left in zip(probabilities.tolist(), called, referred, strict=True):
            decision = REFER if left else labels[index]
            assert space["decide"](to_json(point), list(labels), row) == decision, (point, row)


@pytest.mark.parametrize(("point", "decisions"), [
    (OperatingPoint("COVID-19", 0.45, 0.7), {"COVID-19", REFER}),
    (OperatingPoint("Normal", 0.2, 0.6), {"COVID-19", REFER}),
    (OperatingPoint("Normal", 0.15, 0.17), {"COVID-19", "Normal", REFER}),
])  # fmt: skip
def test_predict_decides_by_the_manifest_and_the_documented_rule(
    point: OperatingPoint, decisions: set[str], tmp_path: Path, cli: Cli
) -> None:
    """As an integrator implements it: from JSON files alone."""
    space: dict[str, Callable[..., str]] = {}
    exec(*re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL), space)
    record = recorded(30, 3, 33)
    value = to_json(replace(record, fitted=replace(record.fitted, point=point)))
    bundle, films = tmp_path / "bundle", tmp_path / "films"
    bundle.mkdir()
    films.mkdir()
    artifact = write_artifact(bundle / "xception-int8.onnx", Quantization.INT8, operating_point=value)
    write_manifest(bundle, artifact.metadata.shared, [artifact])
    # Black is a third of each class, and the brighter the more COVID-19.
    slope = np.linspace(0, 96, 71 * 71).reshape(71, 71)
    for level in range(0, 160, 8):
        Image.fromarray((slope + level).astype(np.uint8)).save(films / f"{level:03d}.png")
    assert cli("predict", films, "--bundle", bundle, "--runtime", "onnx", "--json", tmp_path / "x.json").code == 0
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    (entry,), labels = manifest["artifacts"], manifest["shared"]["labels"]
    decided = [space["decide"](entry["operating_point"], labels, row["probabilities"]) for row in rows]
    assert decided == [row["decision"] for row in rows]
    assert set(decided) == decisions


def test_inspect_shows_the_rule_its_promise_and_a_warning_about_few_images(tmp_path: Path, cli: Cli) -> None:
    record = recorded(18, 0, 18)
    record = replace(record, fitted=replace(record.fitted, missed=Promise.by_order_statistic(18, 0.05)))
    write_artifact(tmp_path / "x-int8.tflite", Quantization.INT8, operating_point=to_json(record))
    printed = " ".join(cli("inspect", tmp_path / "x-int8.tflite").out.split())
    assert record.fitted.point.sentence in printed
    assert record.promise in printed
    assert "warning: a sensitivity of 95 % was demanded; with 18 COVID-19 images, at most" in printed


def test_the_readme_states_the_rule() -> None:
    text = (DOCUMENT.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "at `called_from` or more" in text and "at `suspected_from` or more" in text


def test_the_sentence_describes_the_decisions() -> None:
    """In each of its three forms, with the thresholds parsed from it."""
    random = np.random.default_rng(1)
    probabilities = random.dirichlet([0.6, 0.6, 0.6], 300)
    for point in random_points(random):
        if point.called_from <= 0:
            assert point.sentence.endswith("nothing is referred")
            assert not point.decide(probabilities, LABELS)[1].any()
            continue
        first, second, *_ = (float(number) / 100 for number in re.findall(r"([\d.]+) %", point.sentence))
        sensitive, other = probabilities[:, 0], probabilities[:, 1:].max(axis=1)
        called, referred = point.decide(probabilities, LABELS)
        assert ((called == 0) & ~referred).tolist() == (sensitive >= first).tolist()
        if point.suspected_from < point.called_from:
            assert point.sentence.startswith(f"COVID-19 is called at {100 * first:.3g} % or more and referred at")
            assert ((called != 0) & ~referred).tolist() == ((sensitive < second) & (other >= first)).tolist()
        else:
            assert ((called != 0) & ~referred).tolist() == ((sensitive < first) & (other >= second)).tolist()


def test_an_operating_point_of_an_earlier_version_decides_as_it_did() -> None:
    stored = {"label": "COVID-19", "threshold": 0.036, "refer_below": 0.437, "images": 402, "referred": 3}
    point = operating_point_of(stored)
    assert point is not None
    probabilities = np.random.default_rng(0).dirichlet([0.6, 0.6, 0.6], 500)
    # As it was written: called from its threshold on, before all others, and referred where less probable than that.
    others = np.where(np.arange(3) == 0, -1, probabilities)
    expected = np.where(probabilities[:, 0] >= 0.036, 0, others.argmax(axis=1))
    called, referred = point.decide(probabilities, LABELS)
    assert called.tolist() == expected.tolist()
    assert referred.tolist() == (probabilities[np.arange(500), expected] < 0.437).tolist()
    assert point.sentence.startswith(
        "COVID-19 is called at 43.7 % or more and referred at 3.6 % or more; another class"
    )
    assert operating_record_of(stored) is None
    never = operating_point_of({**stored, "refer_below": 0.0})
    assert never is not None
    assert never.sentence.endswith("nothing is referred")
    assert operating_point_of(None) is None


def test_a_threshold_is_not_rounded_to_single_precision() -> None:
    point = OperatingPoint("COVID-19", 0.1, 0.7)
    below = np.float32([[0.09999999, 0.1, 0.8], [0.1, 0.1, 0.8]])
    # As doubles, these are just below and just above 0.1.
    assert point.decide(below, LABELS)[1].tolist() == [False, True]


def test_figures_count_every_image_once() -> None:
    point = OperatingPoint("COVID-19", 0.1, 0.6)
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    probabilities = np.array(
        [
            [0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.01, 0.01, 0.98], [0.05, 0.5, 0.45],
            [0.01, 0.9, 0.09], [0.3, 0.7, 0.0], [0.09, 0.21, 0.7], [0.6, 0.0, 0.4], [0.0, 0.0, 1.0],
        ]
    )  # fmt: skip
    figures = operating_figures(point, probabilities, targets, LABELS)
    assert (figures.sensitive_called, figures.sensitive_referred, figures.missed) == (1, 2, 1)
    assert (figures.other_right, figures.other_referred, figures.wrong_calls) == (2, 1, 2)
    assert figures.sensitivity == 0.75
    assert figures.referred_share == pytest.approx(3 / 9)
    assert figures.decided_right == pytest.approx(3 / 6)
    assert from_json(OperatingFigures, to_json(figures)) == figures
    none = operating_figures(point, probabilities[4:], targets[4:], LABELS)
    assert (none.sensitivity, none.sensitivity_at_least) == (None, None)
    assert operating_figures(point, probabilities[:4], targets[:4], LABELS).wrong_call_share_at_most is None


def recorded(called: int, referred: int, images: int, basis: Basis = Basis.OUT_OF_FOLD) -> OperatingRecord:
    missed, wrong = Promise.by_order_statistic(200, 0.05), Promise.by_order_statistic(2000, 0.02)
    fitted = FittedPoint(OperatingPoint("COVID-19", 0.0312, 0.6), basis, missed, wrong)
    return OperatingRecord(fitted, OperatingFigures(images, called, referred, 300, 290, 5))


def test_a_record_is_read_as_it_was_written() -> None:
    record = recorded(30, 3, 33)
    value = to_json(record)
    assert (value["schema"], value["suspected_from"], value["called_from"]) == (2, 0.0312, 0.6)
    assert value["missed"]["kind"] == "guaranteed"
    assert value["description"] == record.fitted.point.sentence
    assert from_json(OperatingRecord, value) == record
    assert operating_record_of(value) == record


def test_an_artifact_that_breaks_its_promise_gets_a_warning() -> None:
    assert recorded(30, 2, 33).warnings == ()
    (warning,) = recorded(25, 2, 33).warnings
    assert "misses 6 of 33 COVID-19 images" in warning
    assert not recorded(30, 2, 33).broken_on(OperatingFigures(0, 0, 0, 10, 10, 0))


def test_a_rule_that_refers_most_images_gets_a_warning() -> None:
    few = recorded(3, 30, 33)
    mostly = OperatingRecord(few.fitted, OperatingFigures(33, 3, 30, 300, 90, 205))
    assert ["% of the validation images are referred" in line for line in mostly.warnings] == [True]


def evaluated(record: OperatingRecord, figures: OperatingFigures) -> EvaluatedPoint:
    return EvaluatedPoint(record.fitted.point, record, figures)


def test_an_evaluation_shows_the_rule_its_figures_and_a_broken_promise(capsys: pytest.CaptureFixture[str]) -> None:
    record = recorded(30, 3, 33)
    show_evaluated_point(evaluated(record, OperatingFigures(300, 260, 31, 300, 280, 17)))
    shown = capsys.readouterr().out
    assert record.fitted.point.sentence in shown
    assert "300 COVID-19 images: 260 called, 31 referred, 9 missed; called or referred 97.0 % (at least 94.8;" in shown
    assert "3 called wrongly, 1.0 %" in shown
    assert "48 of 600 images are referred (8.0 %); 97.8 % of what is called is right" in shown
    assert "warning" not in shown
    show_evaluated_point(evaluated(record, OperatingFigures(300, 230, 30, 0, 0, 0)))
    assert "warning: more COVID-19 images are missed than promised" in capsys.readouterr().out


def test_a_count_of_one_is_shown_in_the_singular(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluated_point(evaluated(recorded(30, 3, 33), OperatingFigures(1, 1, 0, 1, 1, 0)))
    shown = capsys.readouterr().out
    assert "  1 COVID-19 image: " in shown and "  1 other image: " in shown


def test_an_old_operating_point_is_evaluated_without_a_promise(capsys: pytest.CaptureFixture[str]) -> None:
    point = OperatingPoint("COVID-19", 0.5, 0.0)
    show_evaluated_point(EvaluatedPoint(point, None, OperatingFigures(3, 3, 0, 2, 2, 0)))
    shown = capsys.readouterr().out
    assert "nothing is referred; 100.0 % of what is called is right" in shown
    assert "promised" not in shown


def test_an_export_names_the_artifact_that_a_warning_is_about(capsys: pytest.CaptureFixture[str]) -> None:
    show_exported_points({"a.tflite": recorded(30, 3, 33), "b.onnx": recorded(25, 2, 33)})
    shown = capsys.readouterr().out
    assert "Operating points on 33 COVID-19 and 300 other validation images, %" in shown
    assert shown.count("promised for new images of the same kind") == 1
    assert "warning: b.onnx: this artifact itself misses 6 of 33" in shown
    show_exported_points({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 33), (1, 33), (12, 402), (402, 402), (250, 2000)])
def test_bounds_agree_with_scipy(hits: int, trials: int) -> None:
    above = stats.binomtest(hits, trials, alternative="less").proportion_ci(0.95, "exact").high
    below = stats.binomtest(hits, trials, alternative="greater").proportion_ci(0.95, "exact").low
    assert clopper_pearson_upper(hits, trials) == pytest.approx(above, abs=1e-9)
    assert clopper_pearson_lower(hits, trials) == pytest.approx(below, abs=1e-9)


def test_most_exceptions_is_the_largest_number_whose_bound_meets_the_demand() -> None:
    for trials, share in [(59, 0.05), (369, 0.02), (500, 0.1)]:
        allowed = most_exceptions(trials, share)
        assert allowed is not None
        assert clopper_pearson_upper(allowed, trials) <= share < clopper_pearson_upper(allowed + 1, trials)
    assert most_exceptions(58, 0.05) is None
    assert most_exceptions(1000, 0.0) is None
    assert fewest_images(0.05) == 59


def test_predict_and_evaluate_use_the_operating_point_of_the_artifact(
    run: Run, bundle: Path, cli: Cli, tmp_path: Path
) -> None:
    stored = {entry.file: entry.operating_point for entry in read_manifest(bundle).artifacts}
    assert None not in stored.values()
    value = stored["xception-int8.tflite"]
    record = operating_record_of(value)
    assert record is not None
    assert record.fitted.basis is Basis.VALIDATION
    assert record.validation.sensitive_images == record.fitted.missed.images
    assert read_artifact(bundle / "xception-int8.tflite").metadata.operating_point == value
    point = record.fitted.point
    pictures = [path for folder in sorted((run.folder / "phantoms").iterdir()) for path in sorted(folder.iterdir())[:8]]
    output = tmp_path / "x.json"
    predicted = cli("predict", *pictures, "--artifact", bundle / "xception-int8.tflite", "--json", output)
    assert predicted.code == 0
    assert point.sentence in " ".join(predicted.out.split())
    result = json.loads(output.read_text())
    assert from_json(OperatingPoint, result["operating_point"]) == point
    for row in result["rows"]:
        (called,), (referred,) = point.decide(np.array([row["probabilities"]]), LABELS)
        assert row["decision"] == (REFER if referred else LABELS[called])
    evaluated = cli("evaluate", "--artifact", bundle / "xception-int8.tflite", "--run", run.folder, "--json", output)
    assert evaluated.code == 0
    assert point.sentence in evaluated.out
    metrics = json.loads(output.read_text())
    figures = from_json(OperatingFigures, metrics["operating_point"]["figures"])
    assert (figures.images, figures.sensitive_images) == (81, 27)
    recorded_error = read_artifact(bundle / "xception-int8.tflite").parity.result.calibration_error.artifact
    assert metrics["calibration_error"]["on_its_test_split"] == pytest.approx(recorded_error)
    assert metrics["calibration_error"]["value"] == pytest.approx(recorded_error, abs=1e-6)


@pytest.mark.parametrize("arguments", [["--sensitive-class", "Fracture"], ["--sensitivity", "95"]])
def test_invalid_operating_options_are_refused(run: Run, cli: Cli, arguments: list[str]) -> None:
    result = cli("export", "--run", run.folder, *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
