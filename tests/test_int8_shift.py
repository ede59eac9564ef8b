"""The arithmetic of the record of int8 on new images, on made-up answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks.int8_shift import File, ImageSet, compared

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Answers:
    """A session that knows its answers: `[N, K]`, one per image, which are numbered by their grey value."""

    probabilities: np.ndarray

    def run(self, images: np.ndarray) -> np.ndarray:
        return self.probabilities[images[:, 0, 0, 0]]


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def some_logits() -> np.ndarray:
    """The float model is right on images 0, 2 and 3, unsure of 2 and 3, and wrong on 1."""
    return np.array([[6.0, 0, 0], [5, 0, 0], [0, 0, 1], [1, 0, 0]])


def row_of(logits: np.ndarray, with_temperature: bool = True):  # type: ignore[no-untyped-def]
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    known = ImageSet("new", images, np.array([0, 2, 2, 0]), softmax(some_logits()))
    session = Answers(softmax(logits / (TEMPERATURE if with_temperature else 1)))
    return compared(File("int8", "made up", session, with_temperature), known, LABELS, TEMPERATURE)


@pytest.mark.parametrize("with_temperature", [True, False])
def test_a_file_that_answers_as_the_float_model_loses_nothing(with_temperature: bool) -> None:
    row = row_of(some_logits(), with_temperature)
    assert (row.lost, row.won, row.agreement, row.drop) == (0, 0, 1, 0)
    assert row.signal_to_noise_db > 100
    assert row.log_odds_error_mean == pytest.approx(0, abs=1e-5)


def test_lost_and_won_images_are_counted_and_log_odds_errors_are_taken_over_unsure_images() -> None:
    logits = some_logits() + np.array([[0, 0, 0], [0, 0, 9], [0.5, 0, 0], [-1.5, 0, 0]])
    row = row_of(logits)
    assert (row.lost, row.won, row.images, row.unsure_images) == (1, 1, 4, 2)
    assert row.agreement == 0.5
    assert row.sensitivity == {"COVID-19": 0.5, "Normal": 1.0}
    assert row.float_sensitivity == {"COVID-19": 1.0, "Normal": 0.5}
    assert row.log_odds_error_mean == pytest.approx(-0.5, abs=1e-5)
    assert row.log_odds_error_sd == pytest.approx(1.0, abs=1e-5)
