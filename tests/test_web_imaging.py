"""The page's decoding, resize and input gate: bit for bit the pixels of `cxr_edge.imaging`, and its messages."""

from __future__ import annotations

import base64
import json
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import open_grey, resized
from cxr_edge.imaging.plausibility import open_plausible
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.prediction.overlay import evidence
from tests.test_hostile_images import deflated
from tests.web import NODE, WEB, needs_sources

pytestmark = [needs_sources, pytest.mark.slow]
HEATMAP = np.random.default_rng(7).normal(size=(4, 5)).astype(np.float32)
#: Negative everywhere, and so steep that bicubic interpolation alone would make a part positive.
NO_EVIDENCE = np.full((4, 5), -5, np.float32)
NO_EVIDENCE[1:3, 1:4] = -0.01


def phantom(index: int, width: int, height: int) -> Image.Image:
    drawn = Image.fromarray(draw_phantom(LABELS[index % len(LABELS)], index, 128).pixels)
    return drawn.resize((width, height), Image.Resampling.BICUBIC)


def tinted(index: int = 3) -> Image.Image:
    """A film photographed in one tint, RGB."""
    grey = np.asarray(phantom(index, 150, 160)).astype(float)
    return Image.fromarray(np.stack([grey, grey * 0.8, grey * 0.5], axis=-1).astype(np.uint8))


def deep(dtype: type = np.uint16) -> np.ndarray:
    return (np.asarray(phantom(5, 90, 80)).astype(np.int32) * 13 + 700).astype(dtype)


def write_chunks(path: Path, header: tuple[int, int, int, int], *chunks: tuple[bytes, bytes], kind: int = 0) -> None:
    """A PNG file that Pillow does not write. `header`: width, height, bits, whether interlaced.

    `kind` is the colour type: 0 for plain grey.
    """
    width, height, bits, interlaced = header
    first = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, kind, 0, 0, interlaced])
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", first), *chunks, (b"IEND", b"")):
        content += len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    path.write_bytes(content)


def random_rows(bits: int, width: int, height: int) -> bytes:
    random = np.random.default_rng(bits)
    return b"".join(b"\0" + random.bytes(-(-width * bits // 8)) for _ in range(height))


def adam7_rows(bits: int, width: int, height: int) -> bytes:
    """The seven pictures of an interlaced one."""
    starts_and_steps = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    sides = ((len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in starts_and_steps)
    return b"".join(random_rows(bits, *side) for side in sides)


def write_png(folder: Path) -> None:
    size = (83, 61)
    for bits in (1, 2, 4):
        rows = random_rows(bits, *size)
        write_chunks(folder / f"grey-{bits}.png", (*size, bits, 0), (b"IDAT", zlib.compress(rows)))
    write_chunks(folder / "surplus.png", (*size, 8, 0), (b"IDAT", zlib.compress(random_rows(8, *size) + bytes(999))))
    write_chunks(folder / "interlaced.png", (*size, 8, 1), (b"IDAT", zlib.compress(adam7_rows(8, *size))))
    for kind, channels in ((2, 3), (4, 2), (6, 4)):
        rows = random_rows(16 * channels, *size)
        write_chunks(folder / f"deep-{channels}.png", (*size, 16, 0), (b"IDAT", zlib.compress(rows)), kind=kind)
    grey, colour = phantom(4, 131, 97), tinted()
    alpha = Image.fromarray(np.random.default_rng(1).integers(0, 256, (160, 150), dtype=np.uint8))
    for name, image in {
        "grey": grey,
        "one": grey.convert("1"),
        "grey-alpha": Image.merge("LA", [colour.convert("L"), alpha]),
        "rgb": colour,
        "rgba": Image.merge("RGBA", [*colour.split(), alpha]),
        "palette": colour.quantize(200),
        "palette-4": colour.quantize(16),
        "sixteen": Image.fromarray(deep()),
    }.items():
        image.save(folder / f"{name}.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour.save(folder / "profile.png", icc_profile=profile)
    transparent = colour.quantize(100)
    transparent.save(folder / "palette-transparent.png", transparency=3)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        grey.save(folder / f"turned-{orientation}.png", exif=exif)
        grey.save(folder / f"turned-{orientation}.jpg", exif=exif)


def write_jpeg(folder: Path) -> None:
    grey, colour = phantom(2, 301, 257), tinted()
    grey.save(folder / "grey.jpg", quality=80)
    grey.save(folder / "progressive.jpg", quality=60, progressive=True)
    for subsampling in range(3):
        colour.save(folder / f"colour-{subsampling}.jpg", subsampling=subsampling)
    colour.save(folder / "kept-rgb.jpg", keep_rgb=True)


def write_doubtful(folder: Path) -> None:
    """Warned of, or refused."""
    random = np.random.default_rng(2)
    phantom(1, 400, 200).save(folder / "wide.png")
    phantom(1, 500, 100).save(folder / "too-wide.png")
    Image.new("L", (99, 99), 40).save(folder / "one-grey.png")
    Image.fromarray(np.where(random.random((99, 99)) < 0.8, 0, 200).astype(np.uint8)).save(folder / "black.png")
    noise = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    noise.resize((120, 110), Image.Resampling.BICUBIC).save(folder / "colours.png")
    phantom(1, 20, 40).save(folder / "small.png")
    frames = [phantom(index, 64, 64) for index in range(2)]
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("no image at all " * 20)
    for name in ("grey.png", "grey.jpg"):
        content = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(content[: len(content) // 2])


def write_dicom(folder: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests import test_dicom as dicom

    signed = deep(np.int16) - np.int16(2000)
    for name, values, bits, tags in (
        ("stretched", deep(), 12, {}),
        ("signed", signed, 16, {"PixelPaddingValue": int(signed.min())}),
        ("window", deep(), 12, {"WindowCenter": [1800, 9], "WindowWidth": [900, 5]}),
        ("exact", deep(), 12, {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"}),
        ("sigmoid", deep(), 12, {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"}),
        ("rescaled", deep(), 12, {"RescaleSlope": "-1.5", "RescaleIntercept": "7", "WindowCenter": "-2500",
                                  "WindowWidth": "1900"}),
        ("inverted", deep(), 12, {"PhotometricInterpretation": "MONOCHROME1"}),
        ("eight", np.asarray(phantom(3, 70, 80)), 8, {}),
        ("rgb", np.asarray(tinted()), 8, {}),
        ("grouped", deep(), 12, dicom.grouped(dicom.window_item(1500, 1000), dicom.rescale_item(2, -9))),
        ("voi-lut", deep(), 12, {"VOILUTSequence": [dicom.lookup_table(np.arange(4096)[::-1], 0, 12)]}),
        ("modality-lut", deep(), 12, {"ModalityLUTSequence": [dicom.lookup_table(np.arange(4096) ** 2 >> 8, 0, 16)]}),
        ("lateral", deep(), 12, {"Modality": "DX", "ViewPosition": "LL", "BodyPartExamined": "KNEE",
                                 "BurnedInAnnotation": "YES", "PresentationIntentType": "FOR PROCESSING"}),
        ("ct", deep(), 12, {"Modality": "CT"}),
        ("frames", deep(), 12, {"NumberOfFrames": 2}),
        ("short", deep(), 12, {"PixelData": b"\0" * 99}),
    ):  # fmt: skip
        dicom.written(folder / f"{name}.dcm", values, bits, **tags)
    data = pydicom.dcmread(folder / "window.dcm")
    data.compress(pydicom.uid.RLELossless)
    data.save_as(folder / "rle.dcm")
    colour = pydicom.dcmread(folder / "rgb.dcm")
    colour.compress(pydicom.uid.RLELossless)
    colour.save_as(folder / "rle-rgb.dcm")
    baseline = pydicom.dcmread(folder / "eight.dcm")
    phantom(3, 70, 80).save(folder / "frame.jpg")
    baseline.PixelData = pydicom.encaps.encapsulate([(folder / "frame.jpg").read_bytes()])
    baseline["PixelData"].VR = "OB"
    baseline.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    baseline.save_as(folder / "baseline.dcm")
    for name in ("MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "CT_small.dcm",
                 "image_dfl.dcm", "JPEG-LL.dcm", "JPEG2000.dcm", "JPGExtended.dcm"):  # fmt: skip
        path = pydicom.data.get_testdata_file(name, download=False)
        if path is not None:
            (folder / f"shipped-{name}").write_bytes(Path(str(path)).read_bytes())


#: Read by `cxr_edge.imaging`, but refused by the page, with this in the message.
NOT_BY_THE_PAGE = {"shipped-JPEG2000.dcm": "JPEG 2000", "shipped-JPGExtended.dcm": "12 bits", "cmyk.jpg": "CMYK",
                   "picture.bmp": "a BMP file", "picture.tif": "a TIFF file",
                   "picture.webp": "a WebP file"}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    for write in (write_png, write_jpeg, write_doubtful, write_dicom):
        write(folder)
    tinted().convert("CMYK").save(folder / "cmyk.jpg")
    for suffix in ("bmp", "tif", "webp"):
        phantom(0, 100, 100).save(folder / f"picture.{suffix}")
    for index in range(30):
        phantom(index, 91 + 37 * index, 1200 - 31 * index).save(folder / f"phantom-{index}.png")
    return sorted(folder.iterdir())


def cases_of(files: list[Path]) -> Iterator[dict[str, Any]]:
    for index, file in enumerate(files):
        resize = ("stretch", "pad")[index % 2]
        cells = (HEATMAP, HEATMAP, NO_EVIDENCE)[index % 3]
        heatmap = {"width": cells.shape[1], "height": cells.shape[0], "values": cells.ravel().tolist()}
        yield {"file": str(file), "size": (71, 128, 299)[index % 3], "resize": resize, "heatmap": heatmap}


def answers_of(cases: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    (folder / "cases.json").write_text(json.dumps(cases))
    command = [str(NODE), str(WEB / "tests" / "pixels.mjs"), str(folder / "cases.json"), str(folder / "answers")]
    subprocess.run(command, check=True)
    return [json.loads(line) for line in (folder / "answers").read_text().splitlines()]


def unpacked(text: str, dtype: type = np.uint8) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def assert_equal(case: dict[str, Any], answer: dict[str, Any]) -> None:
    """The page and `cxr_edge` give the same pixels, the same warnings or refusal, and the same evidence."""
    path = Path(case["file"])
    if path.name in NOT_BY_THE_PAGE:
        assert NOT_BY_THE_PAGE[path.name] in answer["error"], path.name
        open_grey(path)
        return
    try:
        warnings, refused = list(open_plausible(path).warnings), None
    except ImageError as error:
        warnings, refused = None, str(error).removeprefix(f"{path}: ")
    assert answer.get("warnings") == warnings, f"{path.name}: {answer.get('error')} / {refused}"
    if refused is not None and refused.startswith("refused"):
        assert answer["error"] == refused, path.name
    if "grey" not in answer:
        assert refused is not None and answer["error"], path.name
        return
    grey = open_grey(path)
    decoded = unpacked(answer["grey"]).reshape(answer["height"], answer["width"])
    assert np.array_equal(decoded, np.asarray(grey)), path.name
    expected = resized(grey, case["size"], case["resize"])
    assert np.array_equal(unpacked(answer["model"]).reshape(expected.shape), expected), path.name
    by_page = unpacked(answer["evidence"], np.float32).reshape(decoded.shape)
    sides = (case["heatmap"]["height"], case["heatmap"]["width"])
    cells = np.array(case["heatmap"]["values"], np.float32).reshape(sides)
    assert np.abs(by_page - evidence(cells, grey.size, case["resize"])).max() < 1e-5, path.name


def test_every_file_gives_the_same_pixels_and_messages_as_imaging(files: list[Path], tmp_path: Path) -> None:
    cases = list(cases_of(files))
    answers = answers_of(cases, tmp_path)
    assert len(answers) == len(cases)
    for case, answer in zip(cases, answers, strict=True):
        assert_equal(case, answer)
    assert sum("grey" in answer for answer in answers) > 80


def test_a_small_png_that_inflates_without_end_takes_little_memory(tmp_path: Path) -> None:
    size, bomb = (64, 64, 8), zlib.compress(bytes(500 << 20), 9)
    rows = (b"IDAT", zlib.compress(random_rows(8, *size[:2])))
    huge = (60_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    write_chunks(tmp_path / "plain.png", (*size, 0), rows)
    write_chunks(tmp_path / "profile.png", (*size, 0), (b"iCCP", b"icc\0\0" + bomb), rows)
    write_chunks(tmp_path / "pixels.png", (*size, 0), (b"IDAT", bomb))
    write_chunks(tmp_path / "second-header.png", (*size, 0), (b"IHDR", huge), rows)
    files = [tmp_path / f"{name}.png" for name in ("plain", "profile", "pixels", "second-header")]
    plain, profile, pixels, second = answers_of(list(cases_of(files)), tmp_path)
    assert profile["grey"] == plain["grey"]
    assert pixels["error"] == "refused, inflates to more than its picture"
    assert second["error"] == "a damaged PNG file"
    assert (second["peak"] - plain["peak"]) / 1024 < 100


def test_a_small_dicom_file_that_inflates_without_end_takes_little_memory(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    plain, good, bomb = (tmp_path / f"{name}.dcm" for name in ("plain", "good", "bomb"))
    written(plain, deep(), 12)
    deflated(plain, good, [])
    deflated(plain, bomb, [b"\x09\0\x01\0OB\0\0" + (3 << 28).to_bytes(4, "little"), *[bytes(1 << 20)] * (3 << 8)])
    expected, read, refused = answers_of(list(cases_of([plain, good, bomb])), tmp_path)
    assert read["grey"] == expected["grey"]
    assert "refused, inflates to more than 256 MiB" in refused["error"]
    assert (refused["peak"] - read["peak"]) / 1024 < 600
