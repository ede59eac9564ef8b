"""The arithmetic of `benchmarks.generalization` over folds, on made-up answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import generalization
from benchmarks.generalization import TEST, Answers, Training, measured, merged, share
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.train_options import completed

NOISY = f"{TEST}, noise"


def answers(*right: float) -> Answers:
    """Of images of the labels 0, 1, 0, 1 ..."""
    return Answers(np.array(right, np.float64), np.arange(len(right)) % 2)


def test_folds_are_joined_on_their_test_parts_and_averaged_on_the_same_images() -> None:
    first, second = answers(1, 0), answers(1, 1)
    joined, averaged = (merged([first, second], averaged=averaged) for averaged in (False, True))
    assert (joined.right.tolist(), joined.targets.tolist()) == ([1, 0, 1, 1], [0, 1, 0, 1])
    assert (averaged.right.tolist(), averaged.targets.tolist()) == ([1, 0.5], [0, 1])


def test_a_share_has_wilsons_interval_or_one_over_images() -> None:
    assert share(np.array([1.0, 0, 1, 1])).low == pytest.approx(0.3006, abs=1e-4)
    several = share(np.array([1.0, 0.5] * 50))
    assert several.value == 0.75
    # Half of the images at 1 and half at 0.5: a standard error of 0.025.
    assert (several.low, several.high) == pytest.approx((0.70, 0.80), abs=0.01)


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Two, of which the second is right on one image in four more of the noisy test part, and tested on the same."""
    config = RunConfig("", "", ("a", "b"), {}, "", completed({"data": "x-rays"}))
    monkeypatch.setattr(Run, "config", lambda run: config)
    monkeypatch.setattr(Training, "tested", property(lambda training: tested[training.name]))
    tested = {name: ["0", "1"] for name in ("before", "now", "elsewhere")}
    tested["elsewhere"] = ["0", "2"]
    known = {
        "before": {TEST: answers(1, 1, 0, 1), NOISY: answers(0, 1, 0, 1)},
        "now": {TEST: answers(1, 1, 0, 1), NOISY: answers(1, 1, 0, 1)},
    }
    monkeypatch.setattr(generalization, "answers", lambda training, folders: known.get(training.name, known["now"]))
    return [Training(name, (Run(tmp_path / name),)) for name in tested]


def test_trainings_are_compared_with_the_first_on_the_same_images(trainings: list[Training]) -> None:
    rows = {(row.run, row.images_of): row for row in measured(trainings, [])}
    assert rows["before", NOISY].difference is rows["elsewhere", NOISY].difference is None
    unchanged, better = (rows["now", name].difference for name in (TEST, NOISY))
    assert unchanged is not None and better is not None
    assert (unchanged.value, unchanged.low, unchanged.high) == (0, 0, 0)
    assert better.value == 0.25 and better.low == 0 < better.high
    assert rows["now", NOISY].accuracy.value == 0.75
    assert {label: recall.value for label, recall in rows["before", NOISY].recall.items()} == {"a": 0, "b": 1}
