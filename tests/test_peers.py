"""The arithmetic of the comparison with other tools, on made-up latencies, and their files, which are no artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.measure import Plan, Row, run_plan, stratified
from benchmarks.peers.targets import Target, judge_latency, judge_size

TARGET = Target("ours / theirs", 0.85, ("ours", "ours too"), ("theirs", "theirs too"))


def _blocks(milliseconds: float, queries: int = 5, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(int(1000 * milliseconds))
    return milliseconds * (1 + noise * rng.standard_normal((20, queries)))


def test_the_fastest_of_each_side_is_compared() -> None:
    blocks = {"ours": _blocks(9), "ours too": _blocks(8, 50), "theirs": _blocks(10), "theirs too": _blocks(12)}
    judged = judge_latency(TARGET, blocks)
    assert (judged["ratio"], judged["low"], judged["high"]) == pytest.approx((0.8, 0.8, 0.8))
    assert judged["reached"] is True
    del blocks["ours too"]
    judged = judge_latency(TARGET, blocks)
    assert judged["ratio"] == pytest.approx(0.9)
    assert judged["reached"] is False


def test_a_side_that_was_not_measured_decides_nothing() -> None:
    judged = judge_latency(TARGET, {"ours": _blocks(9)})
    assert [judged[name] for name in ("ratio", "low", "high", "reached")] == [None] * 4


def test_few_rounds_give_a_ratio_without_an_interval() -> None:
    judged = judge_latency(TARGET, {"ours": _blocks(8)[:3], "theirs": _blocks(10)[:3]})
    assert judged["ratio"] == pytest.approx(0.8)
    assert (judged["low"], judged["high"], judged["reached"]) == (None, None, True)


def test_the_interval_reflects_noise_but_not_a_drift_common_to_all() -> None:
    noisy = judge_latency(TARGET, {"ours": _blocks(8, noise=0.2), "theirs": _blocks(10, noise=0.2)})
    assert noisy["low"] < noisy["ratio"] < noisy["high"]
    assert noisy["high"] - noisy["low"] > 0.02
    drift = np.linspace(1, 2, 20)[:, None]
    drifting = judge_latency(TARGET, {"ours": _blocks(8) * drift, "theirs": _blocks(10) * drift})
    assert drifting["high"] - drifting["low"] < 1e-9


def test_sizes_are_compared_within_a_format() -> None:
    sizes = {"int8.tflite/litert": 27, "float32.tflite/litert": 100, "int8.onnx/onnx_runtime": 29}
    tflite, onnx = judge_size(sizes)
    assert (tflite["ratio"], tflite["reached"]) == (0.27, True)
    assert (onnx["ratio"], onnx["reached"]) == (None, None)
    assert judge_size({**sizes, "float32.onnx/onnx_runtime": 100})[1]["reached"] is False


def test_stratified_sampling_keeps_the_class_proportions() -> None:
    targets = np.repeat([0, 1, 2], [20, 60, 120])
    indices = stratified(targets, 50)
    assert np.bincount(targets[indices]).tolist() == [5, 15, 30]
    assert np.array_equal(indices, np.unique(indices))
    assert np.array_equal(indices, stratified(targets, 50))
    assert np.array_equal(stratified(targets, 1000), np.arange(200))


def test_a_file_in_openvinos_own_format_is_scored_and_timed(small_bundle: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    ours, theirs = small_bundle / "xception-float32.onnx", tmp_path / "theirs.xml"
    openvino.save_model(openvino.convert_model(ours), theirs, compress_to_fp16=False)
    rows = [Row("ours", "ours", "onnx_runtime", str(ours), ours=True)]
    rows += [Row("theirs", "theirs", "openvino_runtime", str(theirs), ours=False)]
    plan = Plan(str(small_bundle.parent), rows, threads=1, images=6, score=True, queries=5, seconds=0.0)
    results = run_plan(plan)
    assert results["theirs"]["agreement"] == 1.0
    assert np.shape(results["theirs"]["blocks"])[1] > 0
