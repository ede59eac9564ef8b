"""One imaging path: every mode becomes the same kind of grey pixels, and bad files are named."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import load_image
from cxr_edge.imaging.rule import RESIZES, RULE, rule_of, same_pixels
from cxr_edge.phantoms.drawing import draw_phantom


@pytest.fixture
def grey() -> Image.Image:
    return Image.fromarray(draw_phantom("Normal", 3, 128).pixels)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK"])
def test_every_mode_of_a_grey_picture_gives_its_grey_values(tmp_path: Path, grey: Image.Image, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    # Straight to P: from RGB, Pillow would dither to a web palette of few greys.
    (grey if mode == "P" else grey.convert("RGB")).convert(mode).save(tmp_path / f"x.{suffix}")
    result = load_image(tmp_path / f"x.{suffix}", 128).astype(int)
    assert np.abs(result - np.asarray(grey, int)).max() <= 1


FORMATS = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"),
    "webp": ("L", "RGB", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix, modes in FORMATS.items() for mode in modes])
def test_every_format_in_every_mode_it_has(tmp_path: Path, grey: Image.Image, suffix: str, mode: str) -> None:
    picture = (grey if mode == "P" else grey.convert("RGB")).convert(mode)
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    picture.save(tmp_path / f"x.{suffix}", **options)
    result = load_image(tmp_path / f"x.{suffix}", 128).astype(int)
    # One bit is dithered; JPEG is lossy.
    expected = np.asarray(picture.convert("L") if mode == "1" else grey, int)
    assert np.abs(result - expected).max() <= (10 if suffix == "jpg" else 1)


@pytest.mark.parametrize("kind", ["png 16 bit", "tif 16 bit", "tif 32 bit", "tif float"])
def test_deep_grey_is_stretched_from_its_own_minimum_to_its_own_maximum(
    tmp_path: Path, grey: Image.Image, kind: str
) -> None:
    suffix, _, depth = kind.partition(" ")
    pixels = np.asarray(grey, float)
    values = {
        "16 bit": (pixels * 100 + 7000).astype(np.uint16),
        "32 bit": (pixels * 10_000 - 50_000).astype(np.int32),
        "float": (pixels / 700).astype(np.float32),
    }[depth]
    Image.fromarray(values).save(tmp_path / f"x.{suffix}")
    expected = np.round((pixels - pixels.min()) * 255 / (pixels.max() - pixels.min()))
    # Thousandths of single precision may fall on the other side of a half.
    assert np.abs(load_image(tmp_path / f"x.{suffix}", 128) - expected).max() <= (depth == "float")
    Image.fromarray(np.full((80, 80), 9000, values.dtype)).save(tmp_path / f"y.{suffix}")
    assert not load_image(tmp_path / f"y.{suffix}", 80).any()


def grey_tiff(path: Path, values: np.ndarray, photometric: int) -> Path:
    """A little-endian TIFF of one strip; Pillow cannot write one whose white is zero."""
    height, width = values.shape
    bits, strip = values.dtype.itemsize * 8, values.tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height),
            (279, len(strip))]  # fmt: skip
    folder = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"II*\0" + struct.pack("<I", 8 + len(strip))
    path.write_bytes(header + strip + struct.pack("<H", len(tags)) + folder + bytes(4))
    return path


def test_a_tiff_whose_white_is_zero_is_no_negative(tmp_path: Path) -> None:
    values = np.arange(64 * 64).reshape(64, 64)
    shallow = (values // 16).astype(np.uint8)
    assert np.array_equal(load_image(grey_tiff(tmp_path / "x.tif", shallow, 1), 64), shallow)
    assert np.array_equal(load_image(grey_tiff(tmp_path / "x.tif", shallow, 0), 64), 255 - shallow)
    deep = (values * 16).astype("<u2")
    assert load_image(grey_tiff(tmp_path / "x.tif", deep, 1), 64)[-1, -1] == 255
    with pytest.raises(ImageError, match=r"x\.tif.*white is zero"):
        load_image(grey_tiff(tmp_path / "x.tif", deep, 0), 64)


def test_sixteen_bits_are_stretched(tmp_path: Path) -> None:
    values = np.linspace(1000, 3000, 128 * 128).reshape(128, 128).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    pixels = load_image(tmp_path / "x.png", 128)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.all(np.diff(pixels.reshape(-1).astype(int)) >= 0)


def png_of(planes: list[np.ndarray]) -> bytes:
    """A 16-bit PNG: grey, grey and alpha, colour, or colour and alpha. Pillow writes only the first."""
    height, width = planes[0].shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.stack(planes, axis=-1).astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[len(planes)], 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_channels_are_refused_and_not_cut_to_their_upper_bits(tmp_path: Path, channels: int) -> None:
    """An X-ray's 12 bits are in the lower ones: of 4095, 15 would be left."""
    grey = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    (tmp_path / "x.png").write_bytes(png_of([grey]))
    assert load_image(tmp_path / "x.png", 64).max() == 255
    opaque = [np.full_like(grey, 65535)] if channels in (2, 4) else []
    (tmp_path / "x.png").write_bytes(png_of([grey] * (channels - len(opaque)) + opaque))
    with pytest.raises(ImageError, match=r"x\.png.*16 bits per channel"):
        load_image(tmp_path / "x.png", 64)


def test_deep_colours_of_a_tiff_are_refused(tmp_path: Path) -> None:
    strip = np.arange(64 * 64 * 3, dtype="<u2").tobytes()
    tags = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 3, 8 + len(strip)), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 14 + len(strip)), (277, 3, 1, 3), (278, 4, 1, 64), (279, 4, 1, len(strip))]  # fmt: skip
    bits = struct.pack("<HHH", 16, 16, 16)
    folder = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = 14 + 2 * len(strip)
    header = b"II*\0" + struct.pack("<I", start) + strip + bits + strip
    (tmp_path / "x.tif").write_bytes(header + struct.pack("<H", len(tags)) + folder + bytes(4))
    with Image.open(tmp_path / "x.tif") as image:
        assert image.mode == "RGB"
    with pytest.raises(ImageError, match=r"x\.tif.*16 bits per channel"):
        load_image(tmp_path / "x.tif", 64)


ORIENTED = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: lambda x: x.T,
            6: lambda x: np.rot90(x, 3), 7: lambda x: np.rot90(x, 2).T, 8: np.rot90}  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:32], pixels[:32, 32:] = 100, 220
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", exif=exif, **options)
    result = load_image(tmp_path / f"x.{suffix}", 64).astype(int)
    assert np.abs(result - ORIENTED[orientation](pixels)).max() <= 10


@pytest.mark.parametrize(("width", "height"), [(200, 100), (100, 200), (150, 149), (97, 97), (400, 33)])
def test_padding_keeps_the_proportions(tmp_path: Path, width: int, height: int) -> None:
    Image.new("L", (width, height), 200).save(tmp_path / "x.png")
    pixels = load_image(tmp_path / "x.png", 96, "pad")
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    assert (pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 200).all()
    assert abs(len(columns) / len(rows) - width / height) <= 0.05 * width / height + width / height / len(rows)
    for places in (rows, columns):
        assert abs(places[0] - (95 - places[-1])) <= 1
    assert max(len(rows), len(columns)) == 96
    assert (load_image(tmp_path / "x.png", 96) == 200).all()


def test_a_square_is_not_padded(tmp_path: Path, grey: Image.Image) -> None:
    grey.save(tmp_path / "x.png")
    for size in (71, 128, 160):
        assert np.array_equal(load_image(tmp_path / "x.png", size, "pad"), load_image(tmp_path / "x.png", size))


def test_the_rule_tells_the_resize() -> None:
    for name in RESIZES:
        assert rule_of(name).resize_here == name
        assert same_pixels(rule_of(name))
    assert rule_of("stretch") == RULE
    assert not same_pixels(replace(RULE, resize="crop"))
