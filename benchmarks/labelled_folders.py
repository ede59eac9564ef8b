"""Folders of labelled images, `--data DIR` of a benchmark, each shown by its name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.conditions import read_other_images


def require_distinct_names(parser: argparse.ArgumentParser, folders: Sequence[Path]) -> None:
    """End with a usage error if two folders have the same name."""
    if len({folder.resolve().name for folder in folders}) < len(folders):
        parser.error("--data: two folders have the same name, by which figures are shown")


def read_labelled(
    folder: Path, labels: Sequence[str], size: int, resize: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images `[N, S, S, 1]` and their class indices `[N]`; ends the benchmark if they have no labels of the model's."""
    other = read_other_images(folder, labels, size, resize)
    if other.targets is None:
        raise SystemExit(f"{folder}: its images have no labels, or others than the model's")
    return other.images, other.targets
