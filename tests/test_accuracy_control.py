"""`export --max-drop`: the layers that stay in float for it, on a small graph of which one layer is sensitive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.artifacts.publishing import publish
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import Split, SplitItem, run_split
from cxr_edge.errors import GateError, OptionError
from cxr_edge.evaluation.accuracy_control import AccuracyControl, AccuracyDemand, Loss, Losses, Release
from cxr_edge.evaluation.conditions import LABELLED_PART, VALIDATION, Condition, Scope
from cxr_edge.evaluation.int8_noise import NoiseSource
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.exporting import accuracy_control
from cxr_edge.exporting.accuracy_control import AccuracySearch, fewest, losses_of
from cxr_edge.exporting.controlled_run import ControlledRun
from cxr_edge.exporting.export import ExportOptions
from cxr_edge.exporting.latency_cost import MOST_FILES, latency_costs
from cxr_edge.exporting.recipe_file import read_recipe, recipe_of_options
from cxr_edge.exporting.tflite import int8_tflite
from cxr_edge.exporting.verify import Reference
from cxr_edge.intervals import Interval
from cxr_edge.progress import silently
from cxr_edge.quantization.calibrate import choose_ranges, collect_histograms
from cxr_edge.quantization.explain import explain
from cxr_edge.quantization.graph import Graph, quantized_tensors, with_heatmap
from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges
from cxr_edge.quantization.releases import ranked_releases, with_layers_in_float
from cxr_edge.quantization.rounding import round_kernels
from cxr_edge.quantization.switchable import KERNELS, SwitchableGraph
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.terminal.accuracy_control import show_latency_costs
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities, save_classifier
from tests.artifacts import some_metadata, write_stub
from tests.conftest import ANY_GATE, Cli
from tests.graphs import small_graph, some_images, tensors_of
from tests.small_network import use_small_network

IMAGES = some_images(48)
LABELS = ("a", "b", "c")
GRAPH = small_graph()
DEMAND = AccuracyDemand(max_disagreement=3)
STEPS: tuple[tuple[str, ...], ...] = ("separable",), ("shortcut", "sum", "hidden", "probabilities")


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float32]:
    """What the float graph says, which plays the Keras model."""
    return tensors_of(GRAPH, IMAGES)["probabilities"]


@pytest.fixture(scope="module")
def targets(expected: NDArray[np.float32]) -> NDArray[np.int64]:
    """Labels of which the float graph gets one in six wrong."""
    return np.asarray((expected.argmax(axis=1) + (np.arange(48) % 6 == 0)) % 3)


@pytest.fixture(scope="module")
def whole() -> QuantizedGraph:
    histograms = collect_histograms(with_heatmap(GRAPH), IMAGES, 8)
    return round_kernels(GRAPH, choose_ranges(GRAPH, histograms), IMAGES, 8)


@pytest.fixture(scope="module")
def sensitive(whole: QuantizedGraph) -> QuantizedGraph:
    """int8 of which one tensor's range cuts nearly everything off: that between the kernels of one layer."""
    low, high = whole.ranges["separable_depthwise"]
    return replace(whole, ranges={**whole.ranges, "separable_depthwise": (low / 50, high / 50)})


@pytest.fixture(scope="module")
def reference(expected: NDArray[np.float32], targets: NDArray[np.int64]) -> Reference:
    """Validation images as they are and under one shift, and test images whose answers are nonsense."""
    items = [
        SplitItem(f"{part}{index}.png", LABELS[target], part, "", "")
        for part in (VALIDATION, LABELLED_PART)
        for index, target in enumerate(targets)
    ]
    rows = np.arange(48)
    shift = SUITE[1]
    conditions = (
        Condition(LABELLED_PART, None, IMAGES, rows),
        Condition(VALIDATION, None, IMAGES, rows),
        Condition(VALIDATION, shift, IMAGES, rows[::2]),
    )
    shifted = tensors_of(GRAPH, shift.apply(IMAGES[::2]))["probabilities"]
    probabilities = (np.roll(expected, 1, axis=1), expected, shifted)
    return Reference(Split(Path(), LABELS, tuple(items)), Scope({}, {}), 1.0, conditions, probabilities)


def search(
    quantized: QuantizedGraph, reference: Reference, folder: Path, digest: str = "a", kept: tuple[str, ...] = ()
) -> AccuracySearch:
    return AccuracySearch(quantized, kept, reference, folder / "record.json", digest, silently)


@pytest.fixture(scope="module")
def searched(sensitive: QuantizedGraph, reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what a search found."""
    folder = tmp_path_factory.mktemp("searched")
    search(sensitive, reference, folder).control(DEMAND)
    return folder


@pytest.fixture(scope="module")
def contents(sensitive: QuantizedGraph) -> list[bytes]:
    """TFLite files of the sensitive graph with the layers of none, the first and both of `STEPS` in float."""
    return [int8_tflite(with_layers_in_float(sensitive, layers_of(count))) for count in range(3)]


def layers_of(steps: int) -> list[str]:
    return [layer for step in STEPS[:steps] for layer in step]


@pytest.mark.slow
def test_exactly_the_sensitive_layer_is_left_in_float(
    sensitive: QuantizedGraph, reference: Reference, searched: Path
) -> None:
    control = search(sensitive, reference, searched).control(DEMAND)
    assert control.layers == ("separable",)
    assert control.before.plain.disagreement > 20
    assert control.after.plain.disagreement <= 3
    assert control.after.shifted.disagreement <= 3


@pytest.mark.slow
def test_int8_that_meets_the_demand_keeps_no_layer_in_float(
    whole: QuantizedGraph, reference: Reference, tmp_path: Path
) -> None:
    control = search(whole, reference, tmp_path).control(AccuracyDemand(max_drop=9, max_disagreement=9))
    assert control.layers == ()
    assert control.before == control.after


@pytest.mark.slow
def test_a_demand_that_cannot_be_met_reports_the_closest_result(reference: Reference, tmp_path: Path) -> None:
    # Rounded kernels stay: no layer in float makes up for those that are all 0.
    nodes = tuple(
        node if node.kernel is None else replace(node, kernel=0 * node.kernel) for node in small_graph().nodes
    )
    ranges = dict.fromkeys(quantized_tensors(GRAPH), (-8.0, 8.0)) | {"image": (0.0, 255.0)}
    spoiled = QuantizedGraph(replace(GRAPH, nodes=nodes), ranges)
    with pytest.raises(
        GateError, match=r"a drop of at most 1 points .* the nearest, with 0 layers, has a drop"
    ) as error:
        search(spoiled, reference, tmp_path).control(AccuracyDemand(max_drop=1))
    assert error.value.exit_code == 3


@pytest.mark.slow
def test_a_search_is_reused_for_other_demands_but_not_for_another_graph(
    sensitive: QuantizedGraph, reference: Reference, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    first = search(sensitive, reference, tmp_path).control(DEMAND)
    with monkeypatch.context() as patch:
        patch.setattr(accuracy_control, "explain", None)
        patch.setattr(accuracy_control, "SwitchableGraph", None)
        assert search(sensitive, reference, tmp_path).control(DEMAND) == first
        assert search(sensitive, reference, tmp_path).control(AccuracyDemand(max_disagreement=4)).layers == first.layers
        with pytest.raises(TypeError):
            search(sensitive, reference, tmp_path, digest="b")
    # A ranking that was written, and no judgement yet: as after a kill.
    record = json.loads((tmp_path / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps({**record, "losses": {}}))
    assert search(sensitive, reference, tmp_path).control(DEMAND) == first


def test_losses_ignore_the_test_images(reference: Reference, expected: NDArray[np.float32]) -> None:
    answers = [np.roll(expected, 1, axis=1), expected, reference.probabilities[2]]
    losses = losses_of(reference, answers)
    for nonsense in (expected, expected[:0]):
        assert losses_of(reference, [nonsense, *answers[1:]]) == losses
    assert (losses.plain.disagreement, losses.shifted.disagreement) == (0, 0)
    assert (losses.plain.images, losses.shifted.images) == (48, 24)


def test_losses_are_in_points_and_paired(
    reference: Reference, expected: NDArray[np.float32], targets: NDArray[np.int64]
) -> None:
    wrong = expected.copy()
    # Two images that the Keras model gets right, and one that both get wrong in different ways.
    wrong[[1, 2]] = np.roll(expected[[1, 2]], 1, axis=1)
    other = (3 - expected[6].argmax() - targets[6]) % 3
    wrong[6] = np.eye(3)[other]
    losses = losses_of(reference, [expected, wrong, reference.probabilities[2]])
    assert losses.plain.drop.value == pytest.approx(100 * 2 / 48)
    assert losses.plain.disagreement == pytest.approx(100 * 3 / 48)
    low, high = losses.plain.drop.low, losses.plain.drop.high
    assert low is not None and high is not None and 0 <= low < 100 * 2 / 48 < high
    assert losses.meet(AccuracyDemand(max_drop=100 * 2 / 48))
    assert not losses.meet(AccuracyDemand(max_drop=4))
    assert not losses.meet(AccuracyDemand(max_drop=5, max_disagreement=6))


def test_a_demand_holds_under_shift_too() -> None:
    right, wrong = Loss(100, Interval(0.0), 0.0), Loss(100, Interval(3.0), 4.0)
    for losses in (Losses(right, wrong), Losses(wrong, right)):
        assert losses.meet(AccuracyDemand(max_drop=3))
        assert not losses.meet(AccuracyDemand(max_drop=2.9))
        assert not losses.meet(AccuracyDemand(max_drop=3, max_disagreement=3.9))


@pytest.mark.slow
def test_a_tensor_is_freed_by_the_layers_that_write_and_read_it(sensitive: QuantizedGraph) -> None:
    noise = explain(sensitive.graph, sensitive, IMAGES)
    releases = ranked_releases(GRAPH, (), noise)
    assert releases[0].tensor == "separable_depthwise"
    assert [release.snr_db for release in releases] == sorted(release.snr_db for release in releases)
    layers: list[str] = []
    for release in releases:
        layers += release.layers
        assert release.tensor not in quantized_tensors(with_layers_in_float(sensitive, layers).graph)
    assert len(layers) == len(set(layers))
    # Poolings and what they read are always int8.
    assert not {release.tensor for release in releases} & {"pooling", "sum_act", "separable_pointwise"}
    # With only the other layer of a tensor to add, the release takes that one.
    alone = {"shortcut": [row for row in noise if row.name == "shortcut" and row.source == NoiseSource.TENSOR]}
    for pattern in ("sum", "su*"):
        (release,) = ranked_releases(GRAPH, (pattern,), alone["shortcut"])
        assert release.layers == ("shortcut",)


@pytest.mark.slow
def test_the_simulation_agrees_with_the_exported_file(
    sensitive: QuantizedGraph, contents: list[bytes], tmp_path: Path
) -> None:
    switchable = SwitchableGraph(sensitive.graph, sensitive)
    for count, content in enumerate(contents):
        path = tmp_path / f"{count}.tflite"
        path.write_bytes(content)
        session = runtimes_for(ArtifactFormat.TFLITE)[0].load(path, 1)
        probabilities = np.concatenate([session.run(image[None]) for image in IMAGES])
        kept = with_layers_in_float(sensitive, layers_of(count))
        logits = switchable.logits(IMAGES, {*quantized_tensors(kept.graph), KERNELS})
        simulated = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.abs(probabilities - simulated).max() < 0.02
        assert np.abs(probabilities - simulated).mean() < 0.003


@pytest.mark.parametrize("most", [0, 1, 5, 64])
def test_fewest_finds_the_minimum_in_few_evaluations(most: int) -> None:
    for enough in range(most + 2):
        asked: list[int] = []

        def meets(number: int, enough: int = enough, asked: list[int] = asked) -> bool:
            asked.append(number)
            return number >= enough

        assert fewest(meets, most) == (enough if enough <= most else None)
        assert len(asked) == len(set(asked)) <= 2 + 2 * max(1, most).bit_length()


def control_of(*releases: Release) -> AccuracyControl:
    losses = Losses(Loss(48, Interval(0.0, 0.0, 0.0), 0.0), Loss(24, Interval(0.0), 0.0))
    return AccuracyControl(AccuracyDemand(max_drop=1), losses, losses, releases, 10)


def test_the_record_of_accuracy_control_round_trips_through_json() -> None:
    control = control_of(Release("x", ("a", "b"), 12.5), Release("y", ("c",), 20.0))
    assert from_json(AccuracyControl, json.loads(json.dumps(to_json(control)))) == control
    assert control.layers == ("a", "b", "c")


@pytest.mark.slow
def test_the_latency_of_each_step_is_measured_beside_int8s(
    contents: list[bytes], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.exporting.latency_cost.SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.benchmarking.latency.WARM_UP_SECONDS", 0.0)
    control = control_of(*(Release(layers[0], layers, 10.0) for layers in STEPS))
    costs = latency_costs(control, lambda releases: contents[releases], IMAGES[:4], silently)
    assert [cost.layers for cost in costs] == [(), *STEPS]
    assert costs[0].ratio == Interval(1.0, 1.0, 1.0)
    assert all(cost.p50_ms > 0 and cost.ratio.low is not None for cost in costs)
    show_latency_costs("mixed", costs)
    printed = " ".join(capfd.readouterr().out.split())
    assert "+ separable" in printed and "+ shortcut, sum, hidden" in printed


def test_many_layers_are_measured_in_a_few_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Session:
        def run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.ones((1, 3), np.float32)

    monkeypatch.setattr("cxr_edge.exporting.latency_cost.SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.benchmarking.latency.WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr("cxr_edge.exporting.latency_cost.preferred_session", lambda path, kind: ("x", Session()))
    control = control_of(*(Release(str(index), (f"layer{index}",), 10.0) for index in range(21)))
    costs = latency_costs(control, lambda releases: b"x" * releases, IMAGES[:1], silently)
    assert len(costs) == MOST_FILES + 1
    assert tuple(layer for cost in costs for layer in cost.layers) == control.layers
    assert costs[-1].bytes == 21


def test_demands_that_make_no_sense_are_refused(cli: Cli) -> None:
    for arguments in (("--max-drop", "-1"), ("--max-disagreement", "100"), ("--explain-int8", "--max-drop", "1")):
        outcome = cli("export", *arguments)
        assert outcome.code == 2
        assert "--max-d" in outcome.err
    demand = AccuracyDemand(max_drop=1)
    with pytest.raises(OptionError, match="computes no layer in float"):
        ExportOptions(read_recipe("coral-edge-tpu"), accuracy=demand)
    floats = recipe_of_options(None, None, [Quantization.FLOAT32], None, True, {})
    with pytest.raises(OptionError, match="nothing is quantized"):
        ExportOptions(floats, accuracy=demand)
    ExportOptions(read_recipe("x86-vnni"), accuracy=demand)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with int8 and int8-ptq in both formats, of an export without a demand."""
    for quantization in (Quantization.INT8, Quantization.INT8_PTQ):
        for kind in ArtifactFormat:
            assert added(tmp_path, quantization, kind) == ()
    return tmp_path


def added(
    folder: Path,
    quantization: Quantization,
    kind: ArtifactFormat,
    control: AccuracyControl | None = None,
    is_superseded: Callable[[ArtifactMetadata], bool] = lambda other: False,
) -> tuple[str, ...]:
    """Add a stub to a bundle; what else happened there."""
    path = folder / f"x-{quantization}.{kind}"
    calibration = None if control is None else {"accuracy_control": to_json(control)}
    metadata = some_metadata(format=kind, quantization=quantization, calibration=calibration)
    content = write_stub(path, to_json(metadata)).read_bytes()
    return publish(path, content, metadata, is_superseded=is_superseded).notes


def added_with_demand(
    folder: Path,
    control: AccuracyControl,
    quantization: Quantization = Quantization.INT8,
    formats: tuple[ArtifactFormat, ...] = tuple(ArtifactFormat),
    keep_float: list[str] | None = None,
) -> list[str]:
    """Add the stubs of an export with a demand to a bundle; what else happened there."""
    recipe = recipe_of_options(None, list(formats), [quantization], keep_float, True, {})
    no_graphs: Any = None
    controlled = ControlledRun(no_graphs, recipe, control.demand, silently)
    controlled.controls[quantization] = control
    is_superseded = partial(controlled.is_superseded, quantization=quantization)
    return [
        note
        for kind in formats
        for note in added(folder, controlled.yields(quantization), kind, control, is_superseded)
    ]


def names_in(folder: Path) -> set[str]:
    return {artifact.name for artifact in read_bundle(folder)}


TFLITE = (ArtifactFormat.TFLITE,)
RELEASE = Release("x", ("a",), 12.5)


@pytest.mark.parametrize("formats", [tuple(ArtifactFormat), TFLITE])
def test_devices_use_the_file_that_meets_the_demand(bundle: Path, formats: tuple[ArtifactFormat, ...]) -> None:
    notes = " ".join(added_with_demand(bundle, control_of(RELEASE), formats=formats))
    assert names_in(bundle) == {f"x-mixed.{kind}" for kind in formats}
    for name in ("x-int8.tflite", "x-int8.onnx", "x-int8-ptq.tflite", "x-int8-ptq.onnx"):
        assert f"removed {name}, which is not known to meet the demand" in notes
        assert not (bundle / name).exists()


def test_layers_that_options_keep_in_float_may_meet_the_demand_by_themselves(bundle: Path) -> None:
    added_with_demand(bundle, control_of(), keep_float=["block1_conv1"])
    assert names_in(bundle) == {"x-mixed.tflite", "x-mixed.onnx"}


def test_without_a_demand_layers_in_float_replace_nothing(bundle: Path) -> None:
    before = names_in(bundle)
    assert added(bundle, Quantization.MIXED, ArtifactFormat.TFLITE) == ()
    assert names_in(bundle) == {*before, "x-mixed.tflite"}


def test_a_file_stays_if_its_own_losses_meet_the_demand(bundle: Path) -> None:
    looser, missed = replace(control_of(), demand=AccuracyDemand(max_drop=9)), Loss(48, Interval(2.0, 1.0, 3.0), 4.0)
    added(bundle, Quantization.INT8, ArtifactFormat.TFLITE, looser)
    added(bundle, Quantization.INT8, ArtifactFormat.ONNX, replace(looser, after=Losses(missed, looser.after.shifted)))
    added_with_demand(bundle, control_of(RELEASE), Quantization.INT8_PTQ, TFLITE)
    assert names_in(bundle) == {"x-int8.tflite", "x-mixed-ptq.tflite"}


def test_int8_that_meets_the_demand_leaves_files_that_devices_use_after_it(bundle: Path) -> None:
    before = names_in(bundle)
    assert added_with_demand(bundle, control_of()) == []
    assert names_in(bundle) == before
    # The other format was not judged.
    added(bundle, Quantization.INT8, ArtifactFormat.ONNX)
    (note,) = added_with_demand(bundle, control_of(), formats=TFLITE)
    assert "removed x-int8.onnx" in note


@pytest.mark.exhaustive
def test_an_export_leaves_layers_in_float_until_the_demand_is_met(
    tmp_path: Path, cache_of_its_own: None, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.exporting.latency_cost.SECONDS", 0.0)
    use_small_network(monkeypatch)
    run = Run(tmp_path / "run")
    options = ("--phantoms", "40", "--image-size", "71", "--epochs", "1", "--batch-size", "8", "--weights", "none")
    assert cli("train", "--run", run.folder, *options).code == 0
    remove_class_bias(run)
    # A range that cuts: so small a network loses next to nothing otherwise. On some processors it answers as the Keras
    # model does on less than half of the images.
    gate = (*ANY_GATE, "--min-agreement", "0")
    export = ("export", "--run", run.folder, "--quantize", "int8-ptq", "--no-heatmap", *gate)
    monkeypatch.setattr("cxr_edge.quantization.quantized_run.round_kernels", cutting_one_range)
    easy = cli(*export, "--max-disagreement", "99", "--format", "tflite")
    assert easy.code == 0, easy.err
    assert "no layer is left in float" in easy.out
    before = recorded_control(run, "int8-ptq.tflite")
    assert before.layers == ()
    assert before.before.plain.disagreement > 10
    demand = 0.7 * before.before.plain.disagreement
    strict = cli(*export, "--max-disagreement", demand)
    assert strict.code == 0, strict.err
    for kind in ("tflite", "onnx"):
        control = recorded_control(run, f"mixed-ptq.{kind}")
        assert 0 < len(control.releases) <= control.ranked
        assert control.before == before.before
        assert control.after.meet(AccuracyDemand(max_disagreement=demand))
    assert "left in float, for" in strict.out
    assert f"+ {control.layers[0]}" in strict.out
    assert not (run.bundle / "xception-int8-ptq.tflite").exists()
    assert "removed xception-int8-ptq.tflite, which is not known to meet the demand" in " ".join(strict.out.split())


def remove_class_bias(run: Run) -> None:
    """Remove the model's bias towards one class: after one epoch, it puts every image in that class."""
    model = load_classifier(run)
    images = np.asarray(decoded(run_split(run), VALIDATION, 71))
    probabilities = predict_probabilities(compiled(model), images)
    layer = model.get_layer("probabilities")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias - np.log(probabilities).mean(axis=0)])
    save_classifier(run, model)


def cutting_one_range(graph: Graph, ranges: Ranges, *others: Any) -> QuantizedGraph:
    quantized = round_kernels(graph, ranges, *others)
    low, high = ranges["block2_sepconv1_depthwise"]
    return replace(quantized, ranges={**ranges, "block2_sepconv1_depthwise": (low / 50, high / 50)})


def recorded_control(run: Run, file: str) -> AccuracyControl:
    calibration = read_artifact(run.bundle / f"xception-{file}").metadata.calibration
    assert calibration is not None
    control = from_json(AccuracyControl, calibration["accuracy_control"])
    assert calibration.get("keep_float", []) == list(control.layers)
    return control
