"""A class activation map drawn over the X-ray that it explains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, PngImagePlugin

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.files import replacing
from cxr_edge.imaging.decode import open_grey
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.runtimes.selection import warnings_about_answers

#: Colour of evidence for the class; opacity shows the strength. Colour-blind readers can see the hue on grey.
_COLOUR = (255, 96, 0)
_STRONGEST = 0.6
_CONTOUR, _WHITE = (255, 225, 170), (255, 255, 255)


def evidence(heatmap: NDArray[np.float32], size: tuple[int, int], resize: str = STRETCH) -> NDArray[np.float32]:
    """Evidence for the class, scaled to 0..1 of its maximum; evidence against it is 0.

    Args:
        heatmap: the class's, `[H, W]`.
        size: width and height of the image.
        resize: how the image was resized for the network, one of `RESIZES`: stretched to a square, or padded with
            black.

    Returns:
        float32 `[height, width]`; all zeros if there is no evidence for the class.
    """
    if not (heatmap > 0).any():
        # Bicubic interpolation overshoots: a steep map that is negative everywhere would become positive.
        return np.zeros((size[1], size[0]), np.float32)
    across, down = heatmap.shape[1], heatmap.shape[0]
    # The share of the square, from the top left, that is black padding before the image.
    left, top = ((1 - side / max(size)) / 2 if resize == "pad" else 0.0 for side in size)
    box = (left * across, top * down, (1 - left) * across, (1 - top) * down)
    positive = np.maximum(np.asarray(Image.fromarray(heatmap).resize(size, Image.Resampling.BICUBIC, box)), 0)
    strongest = float(positive.max())
    weights: NDArray[np.float32] = positive / strongest if strongest > 0 else positive
    return weights


def write_overlay(
    image: Path, heatmap: NDArray[np.float32], label: str, probability: float, artifact: Artifact, target: Path
) -> None:
    """Write the X-ray at its original size with the evidence for a class in colour and a legend below, as PNG,
    atomically.

    Evidence no stronger than the film's average is not coloured: a map that is strong everywhere would tint the whole
    image. A contour line marks the level halfway between the average and the maximum.

    Args:
        image: the X-ray.
        heatmap: of the class, `[H, W]`.
        label: the class.
        probability: of the class.
        artifact: the source of the heat map. The PNG's text has its name, the class, and its warnings; that it was
            trained on phantoms is in the legend too.
        target: the file to write.

    Raises:
        ImageError: the image cannot be read.
        OSError: the file cannot be written.
    """
    grey = open_grey(image)
    shown = _above_average(evidence(heatmap, grey.size, artifact.resize))
    picture = Image.composite(Image.new("RGB", grey.size, _COLOUR), grey.convert("RGB"), _opacity(shown))
    if shown.any():
        picture.paste(_CONTOUR, mask=_contour(shown))
    legend = _legend(picture.width, _rows(heatmap, grey.size, label, probability, artifact))
    overlay = Image.new("RGB", (picture.width, picture.height + legend.height))
    overlay.paste(picture)
    overlay.paste(legend, (0, picture.height))
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", f"evidence for {label}, by {artifact.name}")
    text.add_text("Disclaimer", NOTICE)
    if warnings := warnings_about_answers(artifact):
        text.add_text("Warning", "; ".join(map(str, warnings)))
    with replacing(target) as temporary:
        overlay.save(temporary, format="PNG", pnginfo=text)


def _above_average(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The weights rescaled to 0 up to their average, and 1 at the maximum."""
    average = float(weights.mean())
    if average >= 1:
        return np.zeros_like(weights)
    above: NDArray[np.float32] = np.maximum(weights - average, 0) / (1 - average)
    return above


def _opacity(shown: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.round(shown * (255 * _STRONGEST)).astype(np.uint8))


def _contour(shown: NDArray[np.float32]) -> Image.Image:
    """A mask of the contour at 0.5, with a thickness that suits the picture's size."""
    inside = np.pad(shown >= 0.5, 1, mode="edge")
    surrounded = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    line = Image.fromarray((255 * (inside[1:-1, 1:-1] & ~surrounded)).astype(np.uint8))
    return _widened(line, min(shown.shape) // 400)


def _widened(mask: Image.Image, reach: int) -> Image.Image:
    """A mask of 0 and 255 with every pixel at most `reach` away in both axes added, in a time independent of `reach`.

    Pillow's MaxFilter does the same, in a time that grows with the square of `reach`: half a minute for a radiograph.
    """
    for radius in ((reach, 0), (0, reach)):
        mask = mask.filter(ImageFilter.BoxBlur(radius)).point(lambda value: 255 if value else 0)
    return mask


class _Row(NamedTuple):
    """A line of the legend: a text after a bar of all opacities, a ruler with a width in pixels, or nothing."""

    text: str
    bar: bool = False
    ruler: int = 0


def _rows(
    heatmap: NDArray[np.float32], size: tuple[int, int], label: str, probability: float, artifact: Artifact
) -> list[_Row]:
    down, across = heatmap.shape
    sides = (max(size), max(size)) if artifact.resize == "pad" else size
    width, height = round(sides[0] / across), round(sides[1] / down)
    rows = [_Row("MODEL TRAINED ON PHANTOMS: MEANS NOTHING")] if artifact.metadata.training.phantoms else []
    rows.append(_Row(f"{label} {100 * probability:.1f} %, by {artifact.name}"))
    if (heatmap > 0).any():
        rows.append(_Row("evidence: average of the image to maximum", bar=True))
    else:
        rows.append(_Row("no evidence for it at any position"))
    rows.append(_Row(f"one cell of the map: {width} x {height} pixels", ruler=width))
    return rows


def _legend(width: int, rows: Sequence[_Row]) -> Image.Image:
    """The rows in white on black, as large as the width allows."""
    bar = width // 5
    font, size = ImageFont.load_default(5), 5.0
    for larger in range(6, max(7, width // 24)):
        font_then = ImageFont.load_default(larger)
        if max(_start(row, bar, larger) + font_then.getlength(row.text) for row in rows) > width:
            break
        font, size = font_then, float(larger)
    step = round(1.5 * size)
    legend = Image.new("RGB", (width, step * len(rows) + round(size / 2)))
    draw = ImageDraw.Draw(legend)
    for number, row in enumerate(rows):
        middle = round(size / 3) + number * step + step // 2
        if row.bar:
            opacity = _opacity(np.tile(np.linspace(0, 1, bar, dtype=np.float32), (round(size), 1)))
            grey = Image.new("RGB", opacity.size, (128, 128, 128))
            strip = Image.composite(Image.new("RGB", opacity.size, _COLOUR), grey, opacity)
            legend.paste(strip, (round(size / 2), middle - strip.height // 2))
        if row.ruler:
            left, right = round(size / 2), round(size / 2) + row.ruler
            draw.line((left, middle, right, middle), fill=_WHITE)
            for end in (left, right):
                draw.line((end, middle - step // 4, end, middle + step // 4), fill=_WHITE)
        draw.text((_start(row, bar, size), middle), row.text, fill=_WHITE, font=font, anchor="lm")
    return legend


def _start(row: _Row, bar: int, size: float) -> float:
    """The position where a row's text begins."""
    return (size / 2) + ((bar + size / 2) if row.bar else (row.ruler + size / 2) if row.ruler else 0)
