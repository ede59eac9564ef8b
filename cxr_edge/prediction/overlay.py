"""A class activation map laid over the X-ray that it explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.files import replacing
from cxr_edge.imaging.decode import open_grey
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.runtimes.selection import warnings_about_answers

#: Colour of what speaks for the class; its opacity says how much. The hue is seen by colour-blind readers on grey.
_COLOUR = (255, 96, 0)
_STRONGEST = 0.6


def evidence(heatmap: NDArray[np.float32], size: tuple[int, int], resize: str = STRETCH) -> NDArray[np.float32]:
    """What speaks for the class, 0..1 of its strongest place; what speaks against it is 0.

    Args:
        heatmap: of one class, `[H, W]`.
        size: width and height of the image.
        resize: how the network sees the image, of `RESIZES`: stretched to a square, or with black around it.

    Returns:
        float32 `[height, width]`; zeros where nothing speaks for the class.
    """
    across, down = heatmap.shape[1], heatmap.shape[0]
    # The share of the square, from the top left, that is black before the image begins.
    left, top = ((1 - side / max(size)) / 2 if resize == "pad" else 0.0 for side in size)
    box = (left * across, top * down, (1 - left) * across, (1 - top) * down)
    positive = np.maximum(np.asarray(Image.fromarray(heatmap).resize(size, Image.Resampling.BICUBIC, box)), 0)
    strongest = float(positive.max())
    weights: NDArray[np.float32] = positive / strongest if strongest > 0 else positive
    return weights


def write_overlay(image: Path, heatmap: NDArray[np.float32], label: str, artifact: Artifact, target: Path) -> None:
    """Write the X-ray at its own size with the evidence for a class in colour, as PNG, atomically.

    Args:
        image: the X-ray.
        heatmap: of the class, `[H, W]`.
        label: the class.
        artifact: what the heat map is of. The PNG's text names it, the class, and what warns of it; that it knows
            phantoms only stands in the picture too.
        target: the file to write.

    Raises:
        ImageError: the image cannot be read.
        OSError: the file cannot be written.
    """
    grey = open_grey(image)
    own = evidence(heatmap, grey.size, artifact.resize)
    alpha = Image.fromarray(np.round(own * (255 * _STRONGEST)).astype(np.uint8))
    overlay = Image.composite(Image.new("RGB", grey.size, _COLOUR), grey.convert("RGB"), alpha)
    if artifact.metadata.training.phantoms:
        _write_line(overlay, "MODEL TRAINED ON PHANTOMS: MEANS NOTHING")
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", f"evidence for {label}, by {artifact.name}")
    text.add_text("Disclaimer", NOTICE)
    if warnings := warnings_about_answers(artifact):
        text.add_text("Warning", "; ".join(map(str, warnings)))
    with replacing(target) as temporary:
        overlay.save(temporary, format="PNG", pnginfo=text)


def _write_line(picture: Image.Image, line: str) -> None:
    """White on black across the bottom of an RGB picture, as large as its width allows."""
    font = ImageFont.load_default(max(5, picture.width // len(line) * 1.5))
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = draw.textbbox((0, 0), line, font)
    start = picture.height - (bottom - top) - 2
    draw.rectangle((0, start - 1, picture.width, picture.height), fill=(0, 0, 0))
    draw.text(((picture.width - (right - left)) / 2 - left, start - top), line, fill=(255, 255, 255), font=font)
