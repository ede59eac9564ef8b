"""`--data` of the benchmarks."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.labelled_folders import read_labelled, require_distinct_names
from tests.tiny import ramp

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")


def test_folders_with_the_same_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    require_distinct_names(parser, [Path("a/images"), Path("a/others")])
    with pytest.raises(SystemExit) as error:
        require_distinct_names(parser, [Path("a/images"), Path("b/images/")])
    assert error.value.code == 2
    assert "--data: two folders have the same name" in capsys.readouterr().err


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / "labelled" / label).mkdir(parents=True)
        Image.fromarray(ramp()).save(tmp_path / "labelled" / label / "a.png")
    images, targets = read_labelled(tmp_path / "labelled", LABELS, 71, "stretch")
    assert images.shape == (3, 71, 71, 1)
    assert sorted(targets) == [0, 1, 2]
    (tmp_path / "plain").mkdir()
    Image.fromarray(ramp()).save(tmp_path / "plain" / "a.png")
    with pytest.raises(SystemExit, match="plain: its images have no labels"):
        read_labelled(tmp_path / "plain", LABELS, 71, "stretch")
