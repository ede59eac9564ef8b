"""A folder of phantoms, class by class, from one seed, and an overview of them."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from cxr_edge.files import replacing
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.processors import usable_cores

#: Total number of pixels above which drawing takes longer than starting processes, which is a second or two.
_WORTH_PROCESSES = 1_500_000
_Job: TypeAlias = tuple[Path, str, int, int]


def write_phantoms(
    folder: Path,
    images_per_class: int = 300,
    size: int = 256,
    seed: int = 0,
    on_image: Callable[[], None] | None = None,
) -> list[Path]:
    """Write ``folder/<label>/<label-slug>-00000.png`` and so on: 8-bit grey, ``size`` pixels square.

    Each image derives from (``seed``, class, index) alone, so a larger data set begins with the smaller one.
    ``on_image`` is called after each file. Returns the paths, class by class.

    Raises:
        ValueError: a size below 64 or a negative seed.
        OSError: the folder cannot be written.
    """
    paths: list[Path] = []
    jobs: list[_Job] = []
    for class_index, label in enumerate(LABELS):
        slug = label.lower().replace(" ", "-")
        for index in range(images_per_class):
            path = folder / label / f"{slug}-{index:05d}.png"
            paths.append(path)
            jobs.append((path, label, _image_seed(seed, class_index, index), size))
    for _ in _drawn(jobs):
        if on_image is not None:
            on_image()
    return paths


def _drawn(jobs: list[_Job]) -> Iterator[None]:
    """Draw each job to its file, in order."""
    if sum(size * size for *_, size in jobs) < _WORTH_PROCESSES:
        for job in jobs:
            _draw_to_file(*job)
            yield
        return
    # Spawned, not forked: the caller may hold TensorFlow's threads.
    workers = min(usable_cores(), -(-len(jobs) // 16))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        with _without_main_module():
            drawn = pool.map(_draw_to_file, *zip(*jobs, strict=True), chunksize=8)
        yield from drawn


@contextmanager
def _without_main_module() -> Iterator[None]:
    """While processes are spawned: each would import the main module, and so run a script without a guard again."""
    main_module = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main_module


def _draw_to_file(path: Path, label: str, seed: int, size: int) -> None:
    with replacing(path) as temporary:
        Image.fromarray(draw_phantom(label, seed, size).pixels).save(temporary, format="PNG")


def contact_sheet(rows: int = 3, columns: int = 6, size: int = 192, seed: int = 0) -> Image.Image:
    """A grey sheet of phantoms of ``size`` pixels: one class per row, its name in a corner.

    Rows beyond the third start again with the first class and show further patients.
    """
    sheet = Image.new("L", (columns * size, rows * size))
    pen = ImageDraw.Draw(sheet)
    for row in range(rows):
        class_index = row % len(LABELS)
        label = LABELS[class_index]
        for column in range(columns):
            index = row // len(LABELS) * columns + column
            phantom = draw_phantom(label, _image_seed(seed, class_index, index), size)
            sheet.paste(Image.fromarray(phantom.pixels), (column * size, row * size))
        pen.rectangle(pen.textbbox((4, row * size + 4), label), fill=0)
        pen.text((4, row * size + 4), label, fill=255)
    return sheet


def _image_seed(seed: int, class_index: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, class_index, index)).generate_state(1, np.uint64)[0])
