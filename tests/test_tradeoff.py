"""Accuracy against latency: what is measured, and the plot that grows with the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cascade_shift import AnswersUnderShifts, cell, fitted
from benchmarks.peers.build import Peer, versions_of
from benchmarks.peers.conversions import litert_command
from benchmarks.tradeoff import Kind, entrants_of, measured
from cxr_edge.evaluation.cascade_fit import Answers
from cxr_edge.evaluation.conditions import OtherImages
from documentation import tradeoff
from tests.tiny import grey, write_bundle, write_cascade

#: All classes equally likely, which counts as the first; answered by the tiny cascade's full model; by its small one.
GREYS = (0, 60, 255)


def images(size: int) -> OtherImages:
    pixels = np.concatenate([grey(size, value) for value in GREYS])
    return OtherImages(Path("new"), "new", pixels, ("a", "b", "c"), np.array([0, 2, 0]))


def test_models_and_cascades_of_several_sizes_are_scored_and_timed_together(tmp_path: Path) -> None:
    entrants = [*entrants_of(write_bundle(tmp_path / "bundle")), *entrants_of(write_cascade(tmp_path / "cascade"))]
    points, _ = measured(entrants, images, queries=5, seconds=0)
    assert [point.kind for point in points] == [Kind.FULL, Kind.FULL, Kind.CASCADE]
    full, cascade = points[0], points[2]
    assert (full.image_size, cascade.image_size) == (71, 96)
    assert cascade.right == cascade.images == len(GREYS)
    assert cascade.one_figure_ms == cascade.latency.mean_ms
    assert full.one_figure_ms == full.latency.p50_ms


def point(title: str, kind: str, size: int, milliseconds: float, right: int = 570) -> dict[str, Any]:
    latency = {"p50_ms": milliseconds, "mean_ms": milliseconds + 1, "p99_ms": milliseconds + 2}
    names = {"title": title, "kind": kind, "runtime": "LiteRT", "image_size": size}
    return {**names, "bytes": 3_000_000, "right": right, "images": 600, "latency": latency}


def write(folder: Path, name: str, date: str, *points: dict[str, Any], images_of: str = "new") -> None:
    folder.mkdir(exist_ok=True)
    record = {"date": date, "images_of": images_of, "machine": {"cpu": "a CPU"}, "points": points}
    (folder / f"{name}.json").write_text(json.dumps(record))


def test_the_plot_has_the_latest_point_of_each_entrant_and_is_reproducible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tradeoff"
    monkeypatch.setattr(tradeoff, "RESULTS", tmp_path)
    write(folder, "z", "2026-11-01", point("Xception, 128 px", "full model", 128, 10))
    first = tradeoff.tradeoff_table()
    assert "| 10.00 | 11.00 | 12.00 |" in first
    write(
        folder, "a", "2026-12-01", point("Xception, 128 px", "full model", 128, 9), point("NNCF", "other tool", 128, 8)
    )
    table = tradeoff.tradeoff_table().splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| NNCF", "| Xception, 128 px"]
    assert "| 9.00 |" in table[3]
    picture = tradeoff.tradeoff_picture()
    assert picture == tradeoff.tradeoff_picture()
    assert picture.startswith("<svg") and "<dc:date>" not in picture
    write(folder, "b", "2026-12-02", point("student", "student", 128, 3), images_of="others")
    with pytest.raises(ValueError, match="needs records of the same images on one machine"):
        tradeoff.tradeoff_table()


def test_the_cost_of_robustness_is_counted_per_shift() -> None:
    targets = np.arange(600) % 3
    full = np.full((600, 3), 0.01, np.float32)
    full[np.arange(600), targets] = 0.98
    small = np.full((600, 3), 0.05, np.float32)
    small[np.arange(600), targets] = 0.9
    sure = Answers(small, full, targets)
    mistaken = small.copy()
    mistaken[:120] = np.roll(mistaken[:120], 1, axis=1) - np.float32(0.05)
    under_blur = Answers(mistaken, full, targets)
    validation: AnswersUnderShifts = {None: sure, "blur": under_blur}
    # Half of the images, of which another share is mistaken: what the threshold is fitted on is not what is counted.
    test = {shift: Answers(own.small[60:360], own.full[60:360], targets[60:360]) for shift, own in validation.items()}
    plain = fitted(validation, {"test": test}, ("a", "b", "c"), None)
    robust = fitted(validation, {"test": test}, ("a", "b", "c"), 0.9)
    assert [own.differing for own in plain.cells] == [0, 60]
    assert [own.escalated for own in robust.cells] == [0, 60]
    assert [own.differing for own in robust.cells] == [0, 0]
    assert cell("test", "blur", under_blur, 0.5).needed == 120
    assert robust.cells[1].small_right == 240


def test_versions_are_read_from_a_peers_separate_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer("p", "p", "litert", ("float32", "tflite"), ("some-tool",), litert_command, (".tflite",), "some-tool")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="some-tool is not on the PATH"):
        versions_of(peer)
    for name, answer in (("some-tool", ""), ("python", '["1.2"]')):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    assert versions_of(peer) == {"some-tool": "1.2"}
