"""`train --precision auto`: on a CPU, the policy that proves faster in timed steps, kept for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from cxr_edge.choices import Precision
from cxr_edge.train_options import TrainOptions, completed
from cxr_edge.training import precision
from cxr_edge.training.precision import MEASURED_FROM, training_policy

OPTIONS: TrainOptions = completed({"image_size": 128, "batch_size": 16})


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """For a CPU with bfloat16: its step time relative to float32, followed by the ratios measured since."""
    shares = [0.6]

    def step_seconds(policies: Sequence[str], *others: int) -> list[list[float]]:
        shares.append(shares[0])
        return [[1.0, 2.0, 1.0], [shares[0], 2 * shares[0], 9.0]]

    monkeypatch.setenv("CXR_EDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    monkeypatch.setattr(precision, "step_seconds", step_seconds)
    return shares


def policy(folder: Path, options: TrainOptions = OPTIONS, steps: int = MEASURED_FROM) -> str:
    return training_policy(folder, options, 3, steps)


def test_a_long_training_uses_the_faster_policy(timings: list[float], tmp_path: Path) -> None:
    assert policy(tmp_path / "first") == "mixed_bfloat16"
    timings[0] = 0.95
    assert policy(tmp_path / "other size", replace(OPTIONS, image_size=71)) == "float32"


def test_steps_are_timed_once_per_machine_and_size(timings: list[float], tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        assert policy(tmp_path / name) == "mixed_bfloat16"
    assert len(timings) == 2


def test_a_resumed_training_keeps_its_policy_on_another_machine(
    timings: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy(tmp_path / "run")
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2"})
    assert policy(tmp_path / "run") == "mixed_bfloat16"
    # With or without a GPU, the run resumes in the policy that it began with.
    assert policy(tmp_path / "on a CPU", steps=1) == "float32"
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert [policy(tmp_path / name) for name in ("run", "on a CPU")] == ["mixed_bfloat16", "float32"]
    assert policy(tmp_path / "on a GPU") == "mixed_float16"
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    assert policy(tmp_path / "on a GPU") == "mixed_float16"


def test_a_training_that_began_before_there_was_a_choice_stays_in_float32(timings: list[float], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert policy(tmp_path / "run") == "float32"


def test_nothing_is_timed_if_it_cannot_pay_off(
    timings: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert policy(tmp_path / "short", steps=MEASURED_FROM - 1) == "float32"
    assert policy(tmp_path / "named", replace(OPTIONS, precision=Precision.MIXED_BFLOAT16)) == "mixed_bfloat16"
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx2", "avx512f"})
    assert policy(tmp_path / "without bfloat16") == "float32"
    assert len(timings) == 1
