"""From file to answer: decode, resize, inference and the whole, and a folder of files in one go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.imaging.decode import open_grey, resized
from cxr_edge.imaging.prefetch import decoded_ahead
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.runtimes.base import Session

#: Width of the files that are drawn where the user names none, from a scaled-down copy to a detector's own.
_SIZES = (300, 600, 1024, 2500)
_DRAWN = 1024


def write_sample_files(folder: Path) -> list[Path]:
    """Phantoms as hospitals hand out X-rays: PNG and JPEG of 300 to 2500 px."""
    files = []
    for index, size in enumerate(_SIZES):
        phantom = Image.fromarray(draw_phantom(LABELS[index % len(LABELS)], index, min(size, _DRAWN)).pixels)
        for suffix in ("png", "jpg"):
            path = folder / f"phantom-{size}.{suffix}"
            phantom.resize((size, size), Image.Resampling.BICUBIC).save(path)
            files.append(path)
    return files


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    milliseconds = np.array(seconds) * 1000
    p50, p90 = np.percentile(milliseconds, [50, 90])
    return {"p50_ms": float(p50), "p90_ms": float(p90), "worst_ms": float(milliseconds.max())}


def measure_files(
    files: Sequence[Path],
    session: Session,
    size: int,
    resize: str,
    repeats: int,
    cores: int,
    seconds: float,
    on_file: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Time each stage of each file, one after the other, then the whole lot as `predict` does it.

    Args:
        files: image files; in the system's file cache after the first round, which is not counted.
        session: of the artifact.
        size: of its input.
        resize: how it wants the files, of `imaging.rule.RESIZES`.
        repeats: rounds over the files.
        cores: decoding threads of the folder run.
        seconds: that the folder run takes at least, with inference alone beside it.
        on_file: called after each file of each round.

    Returns:
        JSON-ready: `stages`, a row each for `decode`, `resize`, `inference` and `whole` (from the file's path to
        probabilities); `by_file`, median milliseconds of the whole and of decode by file; `folder` with
        `images_per_second` from files, that of `inference_per_second` alone in the same run, and their `share`.

    Raises:
        ImageError: a file cannot be decoded.
    """
    stages: dict[str, list[float]] = {name: [] for name in ("decode", "resize", "inference", "whole")}
    by_file: dict[str, dict[str, list[float]]] = {str(path): {"decode": [], "whole": []} for path in files}
    for number in range(repeats + 1):
        for path in files:
            start = time.perf_counter()
            grey = open_grey(path)
            read = time.perf_counter()
            pixels = resized(grey, size, resize)
            ready = time.perf_counter()
            session.run(pixels[None, :, :, None])
            done = time.perf_counter()
            if number:
                stages["decode"].append(read - start)
                stages["resize"].append(ready - read)
                stages["inference"].append(done - ready)
                stages["whole"].append(done - start)
                by_file[str(path)]["decode"].append(read - start)
                by_file[str(path)]["whole"].append(done - start)
            if on_file:
                on_file()
    return {
        "files": len(files),
        "stages": [{"stage": name, **_figures(seconds)} for name, seconds in stages.items()],
        "by_file": [
            {
                "file": Path(name).name,
                "bytes": Path(name).stat().st_size,
                "decode_ms": 1000 * float(np.median(found["decode"])),
                "whole_ms": 1000 * float(np.median(found["whole"])),
            }
            for name, found in by_file.items()
        ],
        "folder": _folder(files, session, size, resize, cores, seconds),
    }


def _folder(
    files: Sequence[Path], session: Session, size: int, resize: str, cores: int, seconds: float
) -> dict[str, Any]:
    pixels: list[NDArray[np.uint8]] = list(decoded_ahead(files, size, cores, resize))
    whole, alone = 0.0, 0.0
    count = 0
    # In turn, so that a drifting machine is unfair to neither.
    while whole + alone < seconds or not count:
        start = time.perf_counter()
        for image in decoded_ahead(files, size, cores, resize):
            session.run(image)
        middle = time.perf_counter()
        for image in pixels:
            session.run(image)
        whole, alone = whole + middle - start, alone + time.perf_counter() - middle
        count += len(files)
    return {"images_per_second": count / whole, "inference_per_second": count / alone, "share": alone / whole}
