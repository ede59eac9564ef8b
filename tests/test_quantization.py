"""The numerical core of int8, on a graph of a few nodes: nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.errors import RunError
from cxr_edge.progress import silently
from cxr_edge.quantization.calibrate import Histogram, channel_statistics, choose_ranges, collect_histograms
from cxr_edge.quantization.channel_scales import free_groups, scale_groups, with_channel_scales
from cxr_edge.quantization.channel_shifts import (
    shiftable_tensors,
    with_channel_shifts,
    with_shifts_on_grid,
)
from cxr_edge.quantization.equalization import ChannelStatistics, equalized, equalizing_scales
from cxr_edge.quantization.explain import NoiseSource, explain, rows_of
from cxr_edge.quantization.fine_tune import CLOSE_DB, Material, fine_tune
from cxr_edge.quantization.graph import Graph, Node, keep_in_float, quantized_tensors, with_heatmap, with_temperature
from cxr_edge.quantization.judge import Check, Judge
from cxr_edge.quantization.kernels import LARGEST, kernel_step, nearest, round_kernel
from cxr_edge.quantization.learn import LearningOptions, learn
from cxr_edge.quantization.quantized_graph import QuantizedGraph, load_quantized_graph
from cxr_edge.quantization.rounding import round_kernels
from cxr_edge.quantization.runaway import ordinary_images
from cxr_edge.quantization.simulate import fake_quantize, fake_round, interpret, step_of
from cxr_edge.quantization.student import LEARNING, RangeStudent, ScaleStudent
from cxr_edge.quantization.teacher import Teacher
from cxr_edge.training.backend import tf
from cxr_edge.training.batches import Batches
from tests.graphs import LABELS, simulated, small_graph, some_images, tensors_of

IMAGES = some_images()


def histogram_of(values: NDArray[np.floating], bins: int = 4096) -> Histogram:
    counts, edges = np.histogram(values, bins)
    return Histogram(float(edges[0]), float(edges[-1]), counts)


def calibrated(graph: Graph, symmetric: bool = False) -> QuantizedGraph:
    histograms = collect_histograms(with_heatmap(graph), IMAGES, 8)
    return round_kernels(graph, choose_ranges(graph, histograms, symmetric), IMAGES, 8)


def log_odds_error(quantized: QuantizedGraph, reference: Graph, images: NDArray[np.uint8]) -> float:
    """Root mean square error of the centred logits."""
    difference = simulated(quantized, images)["logits"] - tensors_of(reference, images)["logits"]
    return float(np.sqrt(((difference - difference.mean(axis=1, keepdims=True)) ** 2).mean()))


# Channel scales


def test_channel_scales_preserve_the_function() -> None:
    graph = small_graph()
    rng = np.random.default_rng(3)
    scales = {
        group: np.exp(rng.normal(0, 1, count)) for group, count in free_groups(graph, scale_groups(graph)).items()
    }
    assert len(scales) == 4
    before, after = tensors_of(graph, IMAGES), tensors_of(with_channel_scales(graph, scales), IMAGES)
    np.testing.assert_allclose(after["probabilities"], before["probabilities"], atol=1e-5)
    assert np.abs(after["separable_depthwise"] - before["separable_depthwise"]).max() > 0.1


def test_tensors_that_a_sum_joins_share_their_scales() -> None:
    groups = scale_groups(small_graph())
    assert len({groups[name] for name in ("pool", "separable_pointwise", "shortcut", "sum", "sum_act", "pooling")}) == 1
    assert groups["stem"] == groups["stem_act"] != groups["sum"]
    assert groups["logits"] not in free_groups(small_graph(), groups)


def spread(graph: Graph, name: str) -> float:
    largest = channel_statistics(graph, IMAGES, 8)[name].largest
    return float(largest.max() / np.median(largest))


def test_equalizing_brings_channels_nearer_to_one_another() -> None:
    graph = small_graph(spread=2.0)
    result = equalized(graph, channel_statistics(graph, IMAGES, 8))
    assert spread(result, "separable_depthwise") < 0.6 * spread(graph, "separable_depthwise")


def test_equalizing_centres_depthwise_outputs_and_preserves_the_function() -> None:
    graph = small_graph()
    result = equalized(graph, channel_statistics(graph, IMAGES, 8))
    tensor = channel_statistics(result, IMAGES, 8)["separable_depthwise"]
    np.testing.assert_allclose(tensor.highest, -tensor.lowest, rtol=1e-3)
    before, after = (tensors_of(own, IMAGES)["probabilities"] for own in (graph, result))
    np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("student_of", [RangeStudent, lambda start: ScaleStudent(start.graph, start.ranges)])
def test_shifts_stay_whole_steps_when_learning_changes_the_step(student_of: Callable[..., RangeStudent]) -> None:
    name, graph = "separable_depthwise", equalized(small_graph(), channel_statistics(small_graph(), IMAGES, 8))
    ranges = choose_ranges(graph, collect_histograms(graph, IMAGES, 8))
    on_grid = with_shifts_on_grid(graph, ranges)
    student = student_of(QuantizedGraph(on_grid, ranges))
    scale = np.ones(8)
    if isinstance(student, ScaleStudent):
        scale[2] = 3
        student.scales[name].assign(np.log(scale))
    for variable in (student.low, student.high):
        variable[name].assign(0.3)
    learned = student.result()
    (start,), (bias,) = ([node.bias for node in own.nodes if node.name == name] for own in (on_grid, learned.graph))
    step = step_of(learned.ranges[name])
    assert np.abs(bias).max() > 20 * step
    np.testing.assert_allclose(bias / step, np.round(start * scale / step), atol=1e-3)
    probabilities = (tensors_of(own, IMAGES)["probabilities"] for own in (graph, learned.graph))
    np.testing.assert_allclose(*probabilities, atol=1e-5)


def test_a_depthwise_output_is_not_shifted_where_a_relu_reads_it() -> None:
    graph = small_graph()
    nodes = {node.name: node for node in graph.nodes}
    relu = replace(nodes["stem_act"], name="between", inputs=("separable_depthwise",))
    reader = replace(nodes["separable_pointwise"], inputs=("between",))
    changed = [reader if node.name == reader.name else node for node in graph.nodes]
    changed.insert(changed.index(reader), relu)
    assert shiftable_tensors(graph) == ("separable_depthwise",)
    assert shiftable_tensors(replace(graph, nodes=tuple(changed))) == ()


def test_equalizing_stops_where_a_pointwise_kernel_pays_more_than_it_gains() -> None:
    graph = small_graph()
    # Channels of one power, one of which once had a value a hundred times as large: spreading the kernel for its sake
    # would cost more than what the others gain.
    largest = np.ones(8)
    largest[0] = 100

    def difference(variance: NDArray[np.float64]) -> float:
        statistics = ChannelStatistics(-largest, largest, variance)
        (scales,) = equalizing_scales(graph, {"separable_depthwise": statistics}).values()
        return float(np.ptp(np.log(scales)))

    assert difference(np.ones(8)) < 0.7 * difference(largest**2)


@pytest.mark.parametrize(("size", "quiet"), [(0.0, [0]), (1e-4, [0]), (0.0, [0, 1, 2, 3, 4, 5])])
def test_channels_that_no_image_reaches_are_not_enlarged_further_than_quiet_ones(size: float, quiet: list[int]) -> None:
    largest = np.geomspace(1, 10, 8)
    largest[quiet] *= size
    statistics = ChannelStatistics(-largest, largest, largest**2)
    (scales,) = equalizing_scales(small_graph(), {"separable_depthwise": statistics}).values()
    reached = largest > 0.5
    # On other images, their values may be as large as those of the other channels.
    median = np.median(largest[reached])
    assert (scales[quiet] <= 4.001 * scales[reached].max() * largest[reached].max() / median).all()
    assert np.ptp(np.log(scales[reached])) > 0.1


def test_a_tensor_that_is_0_throughout_is_left_as_it_is() -> None:
    graph = small_graph()
    nothing = np.zeros_like(channel_statistics(graph, IMAGES, 8)["separable_depthwise"].variance)
    (scales,) = equalizing_scales(graph, {"separable_depthwise": ChannelStatistics(nothing, nothing, nothing)}).values()
    assert scales.tolist() == [1.0] * len(nothing)


def test_unknown_scales_are_refused() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        with_channel_scales(small_graph(), {"nowhere": np.ones(3, np.float32)})


# Ranges


def test_a_range_covers_evenly_distributed_values() -> None:
    low, high = histogram_of(np.linspace(-1, 3, 100_000)).best_range()
    assert low == pytest.approx(-1, abs=0.01)
    assert high == pytest.approx(3, abs=0.01)


def test_a_range_clips_an_outlier_only_among_very_many_values() -> None:
    histogram = histogram_of(np.append(np.random.default_rng(0).normal(0, 1, 1_000_000), 40.0))
    # A clipped value stands out, a rounded one does not: one in a million is worth its room, one in a thousand millions
    # is not.
    assert histogram.best_range()[1] > 35
    often = replace(histogram, counts=np.where(histogram.counts == 1, 1, 1000 * histogram.counts))
    low, high = often.best_range()
    assert high < 20
    assert low < -3


def test_a_symmetric_range_has_its_zero_point_at_zero() -> None:
    low, high = histogram_of(np.linspace(-1, 3, 1000)).best_range(symmetric=True)
    assert low / high == pytest.approx(-128 / 127)
    assert high >= 2.9


def test_zero_is_always_in_range() -> None:
    low, high = histogram_of(np.linspace(2, 3, 1000)).best_range()
    assert (low, high) == (0.0, pytest.approx(3))


def test_the_image_needs_no_rounding_and_the_head_gets_room() -> None:
    graph = small_graph()
    histograms = collect_histograms(graph, IMAGES, 8)
    ranges = choose_ranges(graph, histograms)
    assert ranges[IMAGE] == (0.0, 255.0)
    assert ranges["pooling"][1] > histograms["pooling"].high
    assert ranges["stem_act"][1] <= histograms["stem_act"].high + 1e-6
    assert set(ranges) == set(quantized_tensors(graph))


# Kernels


def correlated(count: int) -> NDArray[np.float64]:
    mixing = np.random.default_rng(5).normal(size=(count, count // 3))
    return np.asarray(mixing @ mixing.T + 0.01 * np.eye(count))


def test_rounding_by_inputs_beats_rounding_to_nearest() -> None:
    node = replace(
        small_graph().nodes[3], kernel=np.random.default_rng(2).normal(size=(1, 1, 48, 12)).astype(np.float32)
    )
    covariance = correlated(48)

    def error(kernel: NDArray[np.float32]) -> float:
        difference = (kernel - node.kernel).reshape(48, 12)
        return float(np.einsum("io,ij,jo->", difference, covariance, difference))

    assert error(round_kernel(node, covariance)) < 0.5 * error(nearest(node))


def test_kernels_with_nearly_constant_inputs_are_rounded_without_nan() -> None:
    """Sums in float32 lose what there is of variance: 0.25 beside a square of 65,000."""
    white = np.random.default_rng(0).integers(254, 256, (256, 17, 17, 1)).astype(np.uint8)
    graph = small_graph()
    ranges = choose_ranges(graph, collect_histograms(graph, white, 64))
    rounded = round_kernels(graph, ranges, white, 64)
    assert all(np.isfinite(node.kernel).all() for node in rounded.graph.nodes if node.kernel is not None)


@pytest.mark.parametrize("name", ["separable_pointwise", "separable_depthwise", "hidden"])
@pytest.mark.parametrize("per_tensor", [False, True])
def test_a_rounded_kernel_is_on_the_grid_of_its_own_largest_weight(name: str, per_tensor: bool) -> None:
    (node,) = (replace(node, per_tensor=per_tensor) for node in small_graph().nodes if node.name == name)
    assert node.kernel is not None
    inputs = 9 if node.kind == "depthwise" else node.kernel.shape[-2]
    covariance = np.stack([correlated(inputs)] * 8) if node.kind == "depthwise" else correlated(inputs)
    kernel = round_kernel(node, covariance)
    np.testing.assert_allclose(kernel_step(replace(node, kernel=kernel)), kernel_step(node), rtol=1e-6)
    points = kernel / kernel_step(node)
    np.testing.assert_allclose(points, np.round(points), atol=1e-3)
    assert np.abs(points).max() <= LARGEST + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shortcut", "separable_depthwise"])
def test_biases_compensate_for_the_mean_rounding_error(name: str) -> None:
    graph = with_channel_shifts(small_graph(), {"separable_depthwise": np.zeros(8)})
    rounded = calibrated(graph)
    before, after = (tensors_of(own, IMAGES)[name].mean(axis=(0, 1, 2)) for own in (graph, rounded.graph))
    plain = replace(rounded.graph, nodes=tuple(
        replace(node, bias=old.bias) for node, old in zip(rounded.graph.nodes, graph.nodes, strict=True)
    ))  # fmt: skip
    without = tensors_of(plain, IMAGES)[name].mean(axis=(0, 1, 2))
    assert np.abs(after - before).max() < np.abs(without - before).max()


# The simulation


def test_fake_quantize_agrees_with_tensorflow() -> None:
    values = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    ours = fake_quantize(tf.constant(values), -1.5, 3.0)
    theirs = tf.quantization.fake_quant_with_min_max_args(values, -1.5, 3.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_gradient_of_a_bound_is_that_of_the_rounding_error_with_the_integers_held() -> None:
    values = tf.constant(np.random.default_rng(1).normal(0, 2, 500).astype(np.float32))
    weights = tf.constant(np.random.default_rng(2).normal(size=500).astype(np.float32))

    def held(low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
        """The chain of operations whose gradient TensorFlow finds by itself."""
        step = (high - low) / 255.0
        zero = tf.stop_gradient(tf.round(-low / step))
        scaled = values / step
        rounded = scaled + tf.stop_gradient(tf.round(scaled) - scaled)
        return (tf.clip_by_value(rounded + zero, 0.0, 255.0) - zero) * step

    gradients = []
    for function in (held, lambda low, high: fake_quantize(values, low, high)):
        low, high = tf.Variable(-1.5), tf.Variable(2.5)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights * function(low, high))
        gradients.append([float(gradient) for gradient in tape.gradient(loss, [low, high])])
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_simulation_agrees_with_tflite(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from cxr_edge.exporting.tflite import int8_tflite

    quantized = calibrated(small_graph())
    expected = simulated(quantized, IMAGES)["probabilities"]
    whole = QuantizedGraph(with_heatmap(quantized.graph), quantized.ranges)
    interpreter = Interpreter(model_content=int8_tflite(whole))
    interpreter.allocate_tensors()
    (ends,) = (output for output in interpreter.get_output_details() if len(output["shape"]) == 2)
    rows = []
    for image in IMAGES:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(ends["index"])[0])
    # A step of the logits is some thousandths of a probability; a rounding of half a step may go either way.
    assert np.abs(np.array(rows) - expected).max() < 0.02
    assert np.abs(np.array(rows) - expected).mean() < 0.003


@pytest.mark.slow
def test_layers_kept_in_float_are_not_rounded() -> None:
    graph = keep_in_float(small_graph(), ["shortcut", "separable"])
    rounded = calibrated(graph)
    for before, after in zip(graph.nodes, rounded.graph.nodes, strict=True):
        if before.kernel is not None:
            assert np.array_equal(before.kernel, after.kernel) == before.in_float
    assert "separable_depthwise" not in rounded.ranges


def test_a_temperature_divides_the_logits() -> None:
    graph = small_graph()
    cooled, name = with_temperature(graph, 2.0)
    np.testing.assert_allclose(tensors_of(cooled, IMAGES)[name], tensors_of(graph, IMAGES)[name] / 2, rtol=1e-5)


def test_the_heat_maps_mean_through_a_softmax_is_the_probabilities() -> None:
    tensors = tensors_of(with_heatmap(small_graph()), IMAGES)
    mean = tensors["heatmap"].mean(axis=(1, 2))
    odds = np.exp(mean - mean.max(axis=1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), tensors["probabilities"], atol=0.01)


# Learning


def batches(seed: int = 0) -> Batches:
    images = some_images(64, seed=7)
    return Batches(images, np.arange(64) % LABELS, LABELS, 8, seed)


def learned(
    folder: Path,
    graph: Graph,
    start: QuantizedGraph,
    steps: int = 80,
    rate: float = 2e-2,
    model: str = "x",
    rival: QuantizedGraph | None = None,
) -> tuple[QuantizedGraph, list[Check]]:
    teacher = Teacher(graph)
    judge = Judge(teacher, IMAGES)
    judged = None if rival is None else (judge(RangeStudent(rival), 0), rival)
    with silently("learning", steps) as bar:
        return learn(
            RangeStudent(start), teacher, batches(), judge, range(steps), rate, {"model": model}, folder, bar, judged
        )


@pytest.mark.slow
def test_a_step_to_no_number_right_before_a_check_is_an_error_that_names_the_rate(
    badly_calibrated: tuple[Graph, QuantizedGraph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of that step is still finite."""
    judged = Judge.__call__

    def after_the_step(judge: Judge, student: RangeStudent, step: int) -> Check:
        check = judged(judge, student, step)
        return replace(check, divergence=float("nan")) if step else check

    monkeypatch.setattr(Judge, "__call__", after_the_step)
    with pytest.raises(RunError, match=r"diverged.*--qat-learning-rate"):
        learned(tmp_path / "x", *badly_calibrated, steps=40)


def with_a_runaway() -> NDArray[np.uint8]:
    """Eight dim images, then one of full brightness: the small graph's residual sums grow with brightness alone."""
    return np.concatenate([some_images(8) // 20, some_images(1, seed=5)])


@pytest.mark.parametrize("batch_size", [3, 4, 9])
def test_an_image_whose_residual_sums_run_away_is_recognised(batch_size: int) -> None:
    images = np.roll(with_a_runaway(), 1, axis=0)
    assert ordinary_images(small_graph(), images, batch_size).tolist() == [False] + [True] * 8


@pytest.mark.parametrize("batch_size", [1, 4, 8])
def test_a_runaway_is_recognised_where_it_is_alone_in_its_batch(batch_size: int) -> None:
    ordinary = ordinary_images(small_graph(), with_a_runaway(), batch_size)
    assert ordinary.tolist() == [True] * 8 + [False]


def test_of_two_images_the_runaway_is_recognised() -> None:
    assert ordinary_images(small_graph(), with_a_runaway()[-2:], 1).tolist() == [True, False]


def test_images_that_do_not_run_away_are_all_ordinary() -> None:
    assert ordinary_images(small_graph(), some_images(16), 4).all()


def test_nothing_is_learned_from_an_image_that_runs_away() -> None:
    graph, images = small_graph(), with_a_runaway()
    teacher, student = Teacher(graph), RangeStudent(calibrated(graph))

    def loss_of(batch: NDArray[np.uint8]) -> float:
        values = tf.cast(batch, tf.float32)
        tensors = student.tensors(values)
        return float(teacher.loss([tensors[name] for name in teacher.names], teacher.outputs(values)))

    assert loss_of(images) == pytest.approx(loss_of(images[:8]), rel=1e-4)
    assert loss_of(images[:8]) != pytest.approx(loss_of(images[:7]), rel=1e-3)


@pytest.fixture(scope="module")
def badly_calibrated() -> tuple[Graph, QuantizedGraph]:
    graph = small_graph(spread=1.5)
    start = calibrated(graph)
    ranges = {
        name: (0.4 * low, 0.4 * high) if name != IMAGE else (low, high) for name, (low, high) in start.ranges.items()
    }
    return graph, QuantizedGraph(start.graph, ranges)


@pytest.mark.slow
def test_learning_repairs_ranges_that_clip(tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph]) -> None:
    graph, start = badly_calibrated
    result, checks = learned(tmp_path / "x", graph, start)
    unseen = some_images(32, seed=99)
    assert log_odds_error(result, graph, unseen) < 0.6 * log_odds_error(start, graph, unseen)
    assert min(checks, key=lambda check: check.distance).step > 0
    for before, after in zip(start.graph.nodes, result.graph.nodes, strict=True):
        assert before.kernel is None or np.array_equal(before.kernel, after.kernel)


@pytest.mark.slow
def test_interrupted_learning_resumes_to_the_same_result(
    tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, start = badly_calibrated
    whole, checks = learned(tmp_path / "whole", graph, start, steps=24)

    from cxr_edge.quantization import learn as module

    real, seen = module._images, []

    def cut_off(*arguments: object) -> object:
        for number, images in real(*arguments):  # type: ignore[arg-type]
            seen.append(number)
            if len(seen) == 15:
                raise InterruptedError
            yield number, images

    monkeypatch.setattr(module, "_images", cut_off)
    with pytest.raises(InterruptedError):
        learned(tmp_path / "cut", graph, start, steps=24)
    monkeypatch.setattr(module, "_images", real)
    resumed, again = learned(tmp_path / "cut", graph, start, steps=24)
    assert [check.step for check in again] == [0, 8, 16, 24]
    assert [check.distance for check in again] == pytest.approx([check.distance for check in checks], rel=1e-4)
    for name, bounds in whole.ranges.items():
        assert resumed.ranges[name] == pytest.approx(bounds, rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_learning_starts_again_for_another_model(
    tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph]
) -> None:
    graph, start = badly_calibrated
    learned(tmp_path / "x", graph, start, steps=4)
    _, checks = learned(tmp_path / "x", graph, start, steps=4, model="another")
    assert checks[0].step == 0


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named(tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph]) -> None:
    graph, start = badly_calibrated
    learned(tmp_path / "x", graph, start, steps=4)
    for path in (tmp_path / "x" / "state").glob("ckpt-4*"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="remove the folder"):
        learned(tmp_path / "x", graph, start, steps=4)


@pytest.mark.slow
def test_the_start_is_kept_where_learning_makes_things_worse(tmp_path: Path) -> None:
    graph = small_graph(spread=1.5)
    start = calibrated(graph)
    result, checks = learned(tmp_path / "x", graph, start, steps=4, rate=0.99)
    assert min(checks, key=lambda check: check.distance).step == 0
    assert result.ranges["sum"] == pytest.approx(start.ranges["sum"])


@pytest.mark.slow
def test_a_nearer_rival_is_kept(tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph]) -> None:
    graph, start = badly_calibrated
    rival = calibrated(graph)
    result, checks = learned(tmp_path / "x", graph, start, steps=2, rival=rival)
    assert [check.step for check in checks] == [0, 0, 2]
    assert min(checks, key=lambda check: check.distance) is checks[0]
    assert result.ranges["sum"] == pytest.approx(rival.ranges["sum"])


@pytest.mark.slow
def test_a_student_with_no_scales_yet_computes_what_its_graph_does() -> None:
    start = calibrated(small_graph())
    logits = [student.tensors(tf.cast(IMAGES, tf.float32))["logits"] for student in students(start)]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)


@pytest.mark.slow
def test_a_student_computes_the_same_in_training_and_in_evaluation() -> None:
    for student in students(calibrated(small_graph())):
        for variable in (variable for variables, _ in student.learned() for variable in variables):
            variable.assign(np.random.default_rng(1).normal(size=variable.shape, scale=0.1))
        logits = [student.tensors(tf.cast(IMAGES, tf.float32), learning)["logits"] for learning in (True, False)]
        np.testing.assert_allclose(*logits, rtol=1e-6, atol=1e-6)


def students(start: QuantizedGraph) -> tuple[RangeStudent, ScaleStudent]:
    return RangeStudent(start), ScaleStudent(start.graph, start.ranges)


@pytest.mark.parametrize("per_tensor", [False, True])
def test_a_kernel_rounded_while_learning_lies_on_the_grid_of_the_device(per_tensor: bool) -> None:
    for node in small_graph().nodes:
        if node.kernel is not None:
            node = replace(node, per_tensor=per_tensor)
            np.testing.assert_allclose(fake_round(tf.constant(node.kernel), per_tensor), nearest(node), rtol=1e-5)


@pytest.mark.slow
def test_the_gradient_of_a_scale_passes_straight_through_the_rounding_of_the_kernel() -> None:
    graph = small_graph()
    ranges = calibrated(graph).ranges
    # Kernels in float: then the straight way, through the scaled kernel, is TensorFlow's own.
    student = ScaleStudent(replace(graph, nodes=tuple(replace(node, in_float=True) for node in graph.nodes)), ranges)
    weights = tf.constant(np.random.default_rng(5).normal(size=(32, 3)).astype(np.float32))
    images = tf.cast(IMAGES, tf.float32)

    def through_the_kernel() -> dict[str, tf.Tensor]:
        scales = {group: tf.exp(logarithms) for group, logarithms in student.scales.items()}
        groups = scale_groups(graph)

        def kernel(node: Node) -> tf.Tensor:
            written, read = scales.get(groups[node.name], 1.0), scales.get(groups[node.inputs[0]])
            value = node.kernel * written
            return value if read is None else value / (read[:, None] if node.kind != "depthwise" else read)

        def bias(node: Node) -> tf.Tensor:
            return node.bias * scales.get(groups[node.name], 1.0)

        return interpret(graph, images, kernel, bias, partial(student._activation, LEARNING))

    gradients = []
    for tensors in (through_the_kernel, lambda: student.tensors(images)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights * tensors()["logits"])
        gradients.append(tape.gradient(loss, list(student.scales.values())))
    assert len(gradients[0]) > 3
    for straight, passed in zip(*gradients, strict=True):
        np.testing.assert_allclose(passed, straight, rtol=1e-2, atol=1e-2 * float(np.abs(straight).max()))


@pytest.mark.slow
def test_the_gradient_of_a_scale_goes_through_the_shift_of_a_channel_that_clips() -> None:
    name, graph = "separable_depthwise", equalized(small_graph(), channel_statistics(small_graph(), IMAGES, 8))
    low, high = collect_histograms(graph, IMAGES, 8)[name].best_range()
    ranges = {name: (0.4 * low, 0.4 * high)}
    nodes = tuple(replace(node, in_float=True) for node in with_shifts_on_grid(graph, ranges).nodes)
    student = ScaleStudent(replace(graph, nodes=nodes), ranges)
    weights = tf.constant(np.random.default_rng(5).normal(size=(32, 3)).astype(np.float32))
    variable = student.scales[name]

    def loss(logarithms: NDArray[np.floating]) -> Any:
        variable.assign(logarithms)
        return tf.reduce_sum(weights * student.tensors(tf.cast(IMAGES, tf.float32))["logits"])

    with tf.GradientTape() as tape:
        result = loss(np.zeros(8))
    gradient = tape.gradient(result, variable).numpy()
    difference = [float(loss(0.04 * unit) - loss(-0.04 * unit)) / 0.08 for unit in np.eye(8)]
    np.testing.assert_allclose(gradient, difference, atol=0.25 * np.abs(difference).max())


@pytest.mark.slow
def test_the_result_of_a_student_agrees_with_it_up_to_kernel_rounding() -> None:
    graph = small_graph()
    student = ScaleStudent(graph, calibrated(graph).ranges)
    rng = np.random.default_rng(4)
    for logarithms in student.scales.values():
        logarithms.assign(rng.normal(0, 0.5, logarithms.shape))
    for change in student.bias.values():
        change.assign(rng.normal(0, 0.02, change.shape))
    result = student.result()
    nodes = [node if node.kernel is None else replace(node, kernel=nearest(node)) for node in result.graph.nodes]
    rounded = QuantizedGraph(replace(result.graph, nodes=tuple(nodes)), result.ranges)
    logits = student.tensors(tf.cast(IMAGES, tf.float32))["logits"]
    np.testing.assert_allclose(simulated(rounded, IMAGES)["logits"], logits, atol=1e-3)


@pytest.mark.slow
def test_a_full_disk_ends_the_learning_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(manager: object, checkpoint_number: int) -> None:
        # As TensorFlow words it.
        raise tf.errors.ResourceExhaustedError(
            None, None, "{{function_node __wrapped__SaveV2}} /x/ckpt-0_temp; No space left on device [Op:SaveV2]"
        )

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    graph = small_graph()
    with pytest.raises(RunError, match=rf"{tmp_path}/\S+: no checkpoint can be written \(No space left on device\)"):
        learned(tmp_path / "x", graph, calibrated(graph), steps=3)


@pytest.mark.slow
def test_learned_scales_preserve_the_float_function(tmp_path: Path) -> None:
    graph = small_graph(spread=1.5)
    student = ScaleStudent(graph, calibrated(graph).ranges)
    with silently("learning", 40) as bar:
        teacher = Teacher(graph)
        judge = Judge(teacher, IMAGES)
        result, _ = learn(student, teacher, batches(), judge, range(40), 1e-2, {}, tmp_path / "x", bar)
    moved = [float(np.abs(scale.numpy()).max()) for scale in student.scales.values()]
    assert max(moved) > 0.05
    scaled = with_channel_scales(graph, result.scales)
    for node, learned_node in zip(scaled.nodes, result.graph.nodes, strict=True):
        if node.kernel is not None:
            np.testing.assert_allclose(learned_node.kernel, node.kernel, rtol=1e-5)
    logits = [tensors_of(each, IMAGES)["logits"] for each in (graph, scaled)]
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_fine_tuning_repairs_ranges_that_clip_and_resumes(
    tmp_path: Path, badly_calibrated: tuple[Graph, QuantizedGraph]
) -> None:
    graph, start = badly_calibrated
    material = Material(graph, start, IMAGES, batches(), IMAGES)

    def tuned() -> tuple[QuantizedGraph, list[Check]]:
        return fine_tune(material, LearningOptions(80, 2e-2), {}, tmp_path / "x", silently)

    result, checks = tuned()
    unseen = some_images(32, seed=99)
    assert log_odds_error(result, graph, unseen) < 0.6 * log_odds_error(start, graph, unseen)
    assert [check.step for check in checks] == [0, 40, 50, 60, 70, 80]
    assert set(result.ranges) == set(start.ranges)
    assert tuned()[1] == checks


@pytest.mark.slow
def test_a_calibration_that_is_close_is_fine_tuned_only_on_demand(tmp_path: Path) -> None:
    graph = small_graph()
    start = calibrated(graph)
    material = Material(graph, start, IMAGES, batches(), IMAGES)
    kept, checks = fine_tune(material, LearningOptions(8), {}, tmp_path / "x", silently)
    assert kept is start
    assert [check.step for check in checks] == [0]
    assert checks[0].closeness_db == min(checks[0].signal_to_noise_db, checks[0].shifted_signal_to_noise_db) >= CLOSE_DB
    _, checks = fine_tune(material, LearningOptions(8, only_if_needed=False), {}, tmp_path / "x", silently)
    assert checks[-1].step == 8


# On disk


@pytest.mark.slow
def test_a_quantized_graph_is_read_as_it_was_written(tmp_path: Path) -> None:
    quantized = calibrated(small_graph())
    quantized.save(tmp_path / "x.npz", {"model": "a"})
    again = load_quantized_graph(small_graph(seed=4), tmp_path / "x.npz", {"model": "a"})
    assert again is not None
    assert again.ranges == quantized.ranges
    assert np.array_equal(again.graph.nodes[0].kernel, quantized.graph.nodes[0].kernel)
    assert load_quantized_graph(small_graph(), tmp_path / "x.npz", {"model": "b"}) is None
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:500])
    assert load_quantized_graph(small_graph(), tmp_path / "x.npz", {"model": "a"}) is None


# Explaining


@pytest.mark.slow
def test_explain_names_the_tensor_whose_range_clips() -> None:
    graph = small_graph()
    quantized = calibrated(graph)
    spoiled = {**quantized.ranges, "shortcut": tuple(0.2 * bound for bound in quantized.ranges["shortcut"])}
    rows = explain(graph, QuantizedGraph(quantized.graph, spoiled), IMAGES)  # type: ignore[arg-type]
    tensors = [row for row in rows if row.source == NoiseSource.TENSOR]
    assert tensors[0].name == "shortcut"
    assert tensors[0].layer == "shortcut"
    assert tensors[0].clipped is not None and tensors[0].clipped > 0.9
    wide = {**quantized.ranges, "shortcut": tuple(20 * bound for bound in quantized.ranges["shortcut"])}
    rows = explain(graph, QuantizedGraph(quantized.graph, wide), IMAGES)  # type: ignore[arg-type]
    (worst, *_) = (row for row in rows if row.source == NoiseSource.TENSOR)
    assert (worst.name, worst.clipped) == ("shortcut", 0.0)


@pytest.mark.slow
def test_explain_has_a_row_for_everything_each_group_and_each_tensor() -> None:
    graph = small_graph()
    quantized = calibrated(graph)
    rows = explain(graph, quantized, IMAGES)
    assert len(rows) == rows_of(quantized)
    assert rows[0].source == NoiseSource.ALL
    assert {row.name for row in rows if row.source == NoiseSource.TENSOR} == set(quantized_tensors(graph)) - {IMAGE}
    assert all(len(row.bias) == LABELS for row in rows)
    everything = rows[0].snr_db
    assert everything is not None and all(row.snr_db is None or row.snr_db > everything - 3 for row in rows[1:])
