"""`evaluate`: which images of a data set or run count, and how they are resized."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.split import SplitItem, read_split, write_split
from cxr_edge.errors import DataError
from cxr_edge.evaluation.conditions import read_other_images
from cxr_edge.files import sha256_of, write_json
from cxr_edge.imaging.rule import rule_of
from cxr_edge.runs import Run
from tests.conftest import Cli
from tests.tiny_runs import LABELS, write_int8, write_run


def write_tall(path: Path, seed: int) -> None:
    """A bright picture twice as high as wide: padded, half of it is black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(100, 256, (160, 80))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_images_are_resized_as_the_artifact_wants_although_the_run_resizes_otherwise(cli: Cli, tmp_path: Path) -> None:
    """An artifact of another run on the same images."""
    images = tmp_path / "images"
    items = []
    for index, label in enumerate(LABELS):
        write_tall(images / label / "x.png", index)
        items.append(SplitItem(f"{label}/x.png", label, "test", "", sha256_of(images / label / "x.png")))
    run = write_run(tmp_path / "runs" / "first")
    split = replace(read_split(run.split_file, images, LABELS), items=tuple(items))
    write_split(split, run.split_file)
    config = json.loads(run.config_file.read_text())
    config["options"] |= {"data": str(images), "resize": "stretch"}
    write_json(run.config_file, {**config, "data_sha256": split.data_hash()})
    errors = []
    for resize in ("stretch", "pad"):
        write_int8(run.bundle, training=_training(run), imaging=rule_of(resize))
        for others in (("--run", run.folder), ("--data", images)):
            record = tmp_path / "record.json"
            result = cli("evaluate", "--artifact", run.bundle / "xception-int8.onnx", *others, "--json", record)
            assert result.code == 0, result.err
            errors.append(json.loads(record.read_text())["calibration_error"]["value"])
    stretched, also_stretched, padded, also_padded = errors
    assert (stretched, padded) == (also_stretched, also_padded)
    assert stretched != padded


def _training(run: Run) -> object:
    from cxr_edge.artifacts.artifact import read_artifact

    known = read_artifact(run.bundle / "xception-int8.onnx").metadata.training
    return replace(known, data_sha256=run.config().data_sha256)


def test_data_that_is_split_without_a_test_part_is_refused(cli: Cli, tmp_path: Path) -> None:
    for part in ("train", "validation"):
        for index, label in enumerate(LABELS):
            write_tall(tmp_path / "data" / part / label / "x.png", index)
    artifact = write_run(tmp_path / "run").bundle / "xception-int8.onnx"
    result = cli("evaluate", "--artifact", artifact, "--data", tmp_path / "data")
    assert result.code == 2
    assert "is split into train and validation, without a test part" in result.err
    assert cli("evaluate", "--artifact", artifact, "--data", tmp_path / "data" / "validation").code == 0
    # The other images of `verify`.
    with pytest.raises(DataError, match="without a test part"):
        read_other_images(tmp_path / "data", LABELS, 71, "stretch")


def test_a_run_without_its_split_does_not_keep_its_artifact_from_other_images(cli: Cli, tmp_path: Path) -> None:
    for index, label in enumerate(LABELS):
        write_tall(tmp_path / "data" / label / "x.png", index)
    run, record = write_run(tmp_path / "run"), tmp_path / "record.json"
    arguments = ("--artifact", run.bundle / "xception-int8.onnx", "--data", tmp_path / "data", "--json", record)
    for in_split in ({"train": 0, "validation": 0, "test": 0}, None):
        assert cli("evaluate", *arguments).code == 0
        assert json.loads(record.read_text()).get("in_split") == in_split
        run.split_file.unlink(missing_ok=True)
