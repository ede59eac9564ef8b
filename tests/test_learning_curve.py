"""Which images a point of a learning curve is trained on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from benchmarks.learning_curve import points_of, table_of, trained_on
from cxr_edge.data.split import run_split
from cxr_edge.runs import Run
from tests.small_network import use_small_network


def training_images(table: str) -> dict[str, set[str]]:
    images: dict[str, set[str]] = {}
    for row in csv.DictReader(table.splitlines()):
        if row["split"] == "train":
            images.setdefault(row["label"], set()).add(row["path"])
    return images


def test_a_smaller_share_is_part_of_a_larger_one_in_each_class(small_run: Run) -> None:
    split = run_split(small_run)
    quarter, half = (training_images(table_of(split, share)) for share in (0.25, 0.5))
    for label in split.labels:
        count = sum(item.label == label for item in split.part("train"))
        assert (len(quarter[label]), len(half[label])) == (round(count / 4), round(count / 2))
        assert quarter[label] < half[label]


@pytest.mark.slow
def test_a_share_is_trained_for_as_many_steps_and_counted_on_the_test_images_of_the_run(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_small_network(monkeypatch)
    trained = trained_on(small_run, 0.5, tmp_path)
    options, config = small_run.config().options, trained.config()
    assert config.options.epochs == 2 * options.epochs
    assert {item.sha256 for item in run_split(trained).part("test")} == {
        item.sha256 for item in run_split(small_run).part("test")
    }
    (point,) = points_of(small_run, 0.5, trained, [])
    assert point.images == len(run_split(small_run).part("test"))
    assert point.training_images == len(run_split(trained).part("train"))
    # A finished training is used again.
    before = trained.model_file.stat().st_mtime_ns
    assert trained_on(small_run, 0.5, tmp_path).model_file.stat().st_mtime_ns == before
    # A training for another run, of a folder of the same name, is not.
    (tmp_path / "run-0.5" / "images.csv").write_text("path,label,split\n")
    with pytest.raises(SystemExit, match="was trained for another run"):
        trained_on(small_run, 0.5, tmp_path)
