"""One imaging path: every mode becomes the same kind of grey pixels, and bad files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge.data.phantom import draw_phantom
from cxr_edge.errors import ImageError
from cxr_edge.imaging import load_image


@pytest.fixture
def grey() -> Image.Image:
    return Image.fromarray(draw_phantom("Normal", 3, 128).pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_every_mode_of_a_grey_picture_gives_its_grey_values(tmp_path: Path, grey: Image.Image, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    # Straight to P: from RGB, Pillow would dither to a web palette of few greys.
    (grey if mode == "P" else grey.convert("RGB")).convert(mode).save(tmp_path / f"x.{suffix}")
    found = load_image(tmp_path / f"x.{suffix}", 128).astype(int)
    assert np.abs(found - np.asarray(grey, int)).max() <= 1


def test_sixteen_bits_are_stretched(tmp_path: Path) -> None:
    values = np.linspace(1000, 3000, 128 * 128).reshape(128, 128).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    found = load_image(tmp_path / "x.png", 128)
    assert (found.min(), found.max()) == (0, 255)
    assert np.all(np.diff(found.reshape(-1).astype(int)) >= 0)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:32] = 200
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    found = load_image(tmp_path / "x.png", 64)
    assert found[:32].max() == 0
    assert found[32:].min() == 200


def test_bad_files_are_named_with_their_reason(tmp_path: Path, grey: Image.Image) -> None:
    grey.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    for name in ("truncated", "text", "empty", "bomb", "missing"):
        with pytest.raises(ImageError, match=f"{name}.png"):
            load_image(tmp_path / f"{name}.png", 71)
