"""Everything the audit needs, from one decode per file; no full image outlives its own measurement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cxr_edge.data.fingerprint import Fingerprint, Unreadable, fingerprint
from cxr_edge.errors import ImageError
from cxr_edge.imaging import decode
from cxr_edge.imaging.dicom import dicom_facts, warnings_about
from cxr_edge.imaging.reading import read_bytes
from cxr_edge.processors import usable_cores

#: Range of grey levels within which a row or column counts as of one colour: JPEG ringing in a black border is weaker.
BORDER_TOLERANCE = 10

# Burnt-in text is detected at 256 x 256 pixels by a white top-hat (what a morphological opening removes): strokes
# thinner than 11 pixels, 80 grey levels above their surroundings, nearly white, with at least 6 pixels, no taller or
# wider than 40, in the outer fifth of the frame. Of 60 radiographs (20 per class) inspected by eye, it flags 21, each
# with a marker or text, and misses 29 that have one (small, grey or on a bright background). It flags none of 2,100
# phantoms.
_MARK_IMAGE, _STROKE, _CONTRAST, _WHITE, _LEAST, _LARGEST, _FRAME = 256, 11, 80, 235, 6, 40, 0.2


@dataclass(frozen=True, slots=True)
class Measurement(Fingerprint):
    """The measurements of one decoded file, in addition to its fingerprint.

    `mean`, `std` and `quantiles` (1 %, 50 %, 99 %) are in grey levels 0..255; `black` and `white` are the shares of
    pixels at 0 and 255; `border` is the share of the area in edge rows and columns of one colour; `marks` counts what
    looks like burnt-in text; `bytes` is the file's size; `format` and `mode` are Pillow's names, or DICOM and its
    photometric interpretation. `warnings` lists DICOM tags that contradict a frontal chest X-ray, one line each.
    """

    bytes: int
    format: str
    mode: str
    width: int
    height: int
    mean: float
    std: float
    quantiles: tuple[int, int, int]
    black: float
    white: float
    border: float
    marks: int
    warnings: tuple[str, ...]


def measure_all(paths: Sequence[Path], on_image: Callable[[], None] | None = None) -> list[Measurement | Unreadable]:
    """Measure files in parallel; the results are in their order.

    Decoding, hashing and most of the arithmetic release the interpreter's lock, so threads suffice; they also spare a
    caller that has loaded TensorFlow the cost of new processes.
    """
    measurements = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        for measurement in pool.map(measure, paths):
            measurements.append(measurement)
            if on_image is not None:
                on_image()
    return measurements


def measure(path: Path) -> Measurement | Unreadable:
    """Read and decode one file, once."""
    sha256 = ""
    try:
        content = read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        grey = decode.open_grey(path, content)
        header = decode.read_header(path, content)
        facts = dicom_facts(path, content) if header.format == "DICOM" else None
    except ImageError as error:
        return Unreadable(str(error).removeprefix(f"{path}: "), sha256)
    pixels = np.asarray(grey)
    histogram = np.array(grey.histogram())
    mean, std, quantiles = _statistics(histogram)
    known = fingerprint(sha256, grey)
    return Measurement(
        sha256=sha256,
        phash=known.phash,
        thumbnail=known.thumbnail,
        bytes=len(content),
        format=header.format,
        mode=header.mode,
        width=header.width,
        height=header.height,
        mean=mean,
        std=std,
        quantiles=quantiles,
        black=float(histogram[0] / pixels.size),
        white=float(histogram[255] / pixels.size),
        border=border_share(pixels),
        marks=count_marks(decode.resized(grey, _MARK_IMAGE)),
        warnings=() if facts is None else tuple(warnings_about(facts)),
    )


def _statistics(histogram: NDArray[np.int64]) -> tuple[float, float, tuple[int, int, int]]:
    levels, total = np.arange(256), int(histogram.sum())
    mean = float(histogram @ levels / total)
    std = float(np.sqrt(histogram @ np.square(levels - mean) / total))
    low, middle, high = (int(at) for at in np.searchsorted(np.cumsum(histogram), np.array([0.01, 0.5, 0.99]) * total))
    return mean, std, (low, middle, high)


def border_share(pixels: NDArray[np.uint8]) -> float:
    """Share of the area of those rows and columns at the edges that are each of one colour, within a tolerance.

    Args:
        pixels: uint8 `[H, W]`.
    """
    if np.ptp(pixels) <= BORDER_TOLERANCE:
        return 1.0
    inner = 1.0
    for axis in (0, 1):
        varied = np.flatnonzero(pixels.max(axis).astype(int) - pixels.min(axis) > BORDER_TOLERANCE)
        length = pixels.shape[1 - axis]
        inner *= (varied[-1] + 1 - varied[0]) / length if len(varied) else 0.0
    return float(1.0 - inner)


def _filtered(pixels: NDArray[np.uint8], extremum: np.ufunc) -> NDArray[np.uint8]:
    """The extremum over each `_STROKE` x `_STROKE` window.

    Windows double from one pixel to the full width: 16 vector operations take 1/50 of SciPy's `grey_opening`, which
    also holds the interpreter's lock.
    """
    for _ in range(2):
        width = 1
        while width < _STROKE:
            step = min(width, _STROKE - width)
            pixels = extremum(pixels[:-step], pixels[step:])
            width += step
        pixels = pixels.T
    return pixels


def count_marks(pixels: NDArray[np.uint8]) -> int:
    """Number of objects near the edges that look like burnt-in letters, arrows or markers (see the constants above).

    Args:
        pixels: uint8 `[256, 256]`.
    """
    eroded = _filtered(np.pad(pixels, _STROKE - 1, mode="edge"), np.minimum)
    strokes = pixels - _filtered(eroded, np.maximum) > _CONTRAST
    components, _ = ndimage.label(strokes, np.ones((3, 3)))
    marks = 0
    for number, place in enumerate(ndimage.find_objects(components), start=1):
        largest = max(side.stop - side.start for side in place)
        off_centre = max(abs((side.start + side.stop) / 2 / _MARK_IMAGE - 0.5) for side in place)
        if largest <= _LARGEST and off_centre >= 0.5 - _FRAME:
            levels = pixels[place][components[place] == number]
            marks += bool(levels.size >= _LEAST and levels.max() >= _WHITE)
    return marks
