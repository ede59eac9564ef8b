"""What a run's quantization keeps in its folder, on a graph of a few nodes: nothing is trained here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.data.split import Split, SplitItem, write_split
from cxr_edge.errors import RunError
from cxr_edge.evaluation.accuracy_control import AccuracyDemand
from cxr_edge.exporting.controlled_run import ControlledRun
from cxr_edge.exporting.explain_int8 import explain_int8
from cxr_edge.exporting.recipe_file import recipe_of_options
from cxr_edge.files import sha256_of, write_json
from cxr_edge.progress import silently
from cxr_edge.quantization.learn import LearningOptions
from cxr_edge.quantization.quantized_run import QuantizedRun, Variant
from cxr_edge.records import JsonObject, to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.lock import locked
from cxr_edge.train_options import completed
from tests.graphs import small_graph, some_images

#: The smallest that a run can have.
SIZE = 71
RECIPE = recipe_of_options(None, None, [Quantization.INT8_PTQ], None, True, {})


@pytest.fixture
def run(tmp_path: Path, cache_of_its_own: None) -> Run:
    """A run on eight dim images and a bright one, on which the small graph runs away, with a Keras model of no use.

    Three more dim images are its validation part.
    """
    data, run = tmp_path / "data", Run(tmp_path / "run")
    data.mkdir()
    items = []
    images = np.concatenate([some_images(8) // 20, some_images(1, seed=5), some_images(3, seed=6) // 20])
    for index, image in enumerate(images.repeat(5, axis=1).repeat(5, axis=2)[:, :SIZE, :SIZE]):
        path = data / f"{index}.png"
        Image.fromarray(image[..., 0]).save(path)
        items.append(SplitItem(path.name, "a", "train" if index < 9 else "validation", "", sha256_of(path)))
    split = Split(data, ("a", "b", "c"), tuple(items))
    write_split(split, run.split_file)
    options = completed({"data": str(data), "image_size": SIZE})
    write_json(run.config_file, to_json(RunConfig("", "", split.labels, {}, split.data_hash(), options)))
    run.model_file.write_bytes(b"a Keras model")
    return run


def quantized_run(run: Run) -> QuantizedRun:
    return QuantizedRun(run, replace(small_graph(), image_size=SIZE), Variant(), LearningOptions(), silently)


def described(run: QuantizedRun, quantization: Quantization) -> JsonObject:
    return run.described(quantization, run.quantized_graph(quantization.is_fine_tuned))


@pytest.mark.slow
def test_the_metadata_count_the_images_that_were_calibrated_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = quantized_run(run)
    description = described(first, Quantization.INT8_PTQ)
    assert description["images"] == len(first.calibration_images()) == 8
    # A later export, whose graphs are kept, does not select them again.
    monkeypatch.setattr("cxr_edge.quantization.quantized_run.ordinary_images", None)
    assert described(quantized_run(run), Quantization.INT8_PTQ) == description
    run.model_file.write_bytes(b"another Keras model")
    with pytest.raises(TypeError):
        described(quantized_run(run), Quantization.INT8_PTQ)


@pytest.mark.slow
def test_int8_that_is_close_without_fine_tuning_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.quantization.fine_tune.CLOSE_DB", 1.0)
    first = quantized_run(run)
    graph = first.quantized_graph(fine_tuned=True)
    assert graph.ranges == first.quantized_graph(fine_tuned=False).ranges
    description = described(first, Quantization.INT8)
    tuned = description["fine_tuning"]
    assert (tuned["steps"], tuned["kept_step"]) == (0, 0)
    assert tuned["calibrated_signal_to_noise_db"] > 1.0
    # A later export reads it from the folder.
    monkeypatch.setattr("cxr_edge.quantization.quantized_run.fine_tune", None)
    assert described(quantized_run(run), Quantization.INT8) == description


@pytest.mark.slow
def test_after_an_export_its_graphs_are_those_in_memory(run: Run) -> None:
    quantized = quantized_run(run)
    controlled = ControlledRun(quantized, RECIPE, AccuracyDemand(), silently)
    graph = controlled.graph(Quantization.INT8_PTQ)
    # What another export writes once the lock is free.
    file = quantized.file(Quantization.INT8_PTQ)
    file.write_bytes(b"of another export")
    assert controlled.graph(Quantization.INT8_PTQ) is graph
    assert file.read_bytes() == b"of another export"


def test_int8_is_not_explained_while_another_process_works_on_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrations: list[bool] = []

    def exporter(*arguments: Any) -> Any:
        return SimpleNamespace(quantized=SimpleNamespace(quantized_graph=lambda fine_tuned: calibrations.append(True)))

    monkeypatch.setattr("cxr_edge.exporting.explain_int8.Exporter", exporter)
    with locked(tmp_path), pytest.raises(RunError, match="in use by"):
        explain_int8(Run(tmp_path), RECIPE, None)
    assert not calibrations
