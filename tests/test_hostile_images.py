"""Image files made to harm: none takes more than 1 GB or 10 s, starts a program, or waits for somebody."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import load_image, open_grey
from cxr_edge.imaging.dicom import dicom_facts
from cxr_edge.phantoms.drawing import draw_phantom


def picture(size: int = 96) -> Image.Image:
    return Image.fromarray(draw_phantom("Normal", 3, size).pixels)


_READ = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from cxr_edge.errors import ImageError
from cxr_edge.imaging.decode import load_image
try:
    load_image(sys.argv[1], 71)
except ImageError as error:
    print(error)
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def read_apart(path: Path) -> tuple[str, float]:
    """What a separate process prints of a file, and the megabytes that it took."""
    result = subprocess.run(
        [sys.executable, "-c", _READ, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    *lines, peak = result.stdout.splitlines()
    return "\n".join(lines), int(peak) / 1024


needs_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the memory")


@needs_linux
def test_a_link_to_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("/dev/zero")
    message, megabytes = read_apart(tmp_path / "x.png")
    assert "x.png: not a regular file" in message
    assert megabytes < 300


@needs_linux
@pytest.mark.parametrize("name", ["x.png", "x.dcm"])
def test_a_named_pipe_does_not_block(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert f"{name}: not a regular file" in read_apart(tmp_path / name)[0]


def test_a_file_larger_than_any_x_ray_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(2**40)
    start = time.monotonic()
    with pytest.raises(ImageError, match=r"x\.png: refused, 1048576 MiB"):
        load_image(tmp_path / "x.png", 71)
    assert time.monotonic() - start < 1


def test_an_eps_file_does_not_start_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    (tmp_path / "chest.png").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ImageError, match=r"chest\.png: not an image"):
        load_image(tmp_path / "chest.png", 71)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("other", ["GIF", "PPM", "TGA", "ICO", "JPEG2000", "AVIF"])
def test_formats_that_are_not_promised_are_not_opened(tmp_path: Path, other: str) -> None:
    try:
        picture().save(tmp_path / "x.png", other)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {other}")
    with pytest.raises(ImageError, match=r"x\.png: not an image"):
        load_image(tmp_path / "x.png", 71)


@pytest.mark.parametrize("suffix", ["tif", "png", "webp"])
def test_several_pictures_in_one_file_are_refused_as_several_frames_are(tmp_path: Path, suffix: str) -> None:
    others = [picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    picture().convert("RGB").save(tmp_path / f"x.{suffix}", save_all=True, append_images=others)
    with pytest.raises(ImageError, match=rf"x\.{suffix}: 2 pictures in one file; save the one"):
        load_image(tmp_path / f"x.{suffix}", 71)
    picture().convert("RGB").save(tmp_path / f"one.{suffix}", save_all=True)
    assert load_image(tmp_path / f"one.{suffix}", 71).any()


def test_a_preview_does_not_count_as_a_second_picture(tmp_path: Path) -> None:
    preview = picture(64).resize((32, 32))
    preview.encoderinfo = {"tiffinfo": {254: 1}}  # type: ignore[attr-defined]
    picture().save(tmp_path / "x.tif", save_all=True, append_images=[preview])
    with Image.open(tmp_path / "x.tif") as pages:
        assert pages.n_frames == 2  # type: ignore[attr-defined]
    assert np.array_equal(load_image(tmp_path / "x.tif", 96), np.asarray(picture()))
    # A camera's: behind its picture lie a preview, or a map of what its screen may brighten.
    picture().save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[preview])
    assert load_image(tmp_path / "x.jpg", 96).any()


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_an_oriented_tiff_is_one_picture_by_its_path_and_by_its_bytes(tmp_path: Path, compression: str) -> None:
    # Pillow maps a file without compression into memory, by the wrong width if it lies on its side.
    pixels = np.asarray(picture(128))[:100]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "x.tif", exif=exif, compression=compression)
    for grey in (open_grey(tmp_path / "x.tif"), open_grey("elsewhere", (tmp_path / "x.tif").read_bytes())):
        assert np.array_equal(np.asarray(grey), np.rot90(pixels, 3))


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    picture().convert("RGB").save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    (tmp_path / "good.jpg").write_bytes(content)
    assert load_image(tmp_path / "good.jpg", 71).any()
    last = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "x.jpg").write_bytes(content[:-2] + 3000 * last + content[-2:])
    with pytest.raises(ImageError, match=r"x\.jpg: refused, a JPEG of more than 100 scans"):
        load_image(tmp_path / "x.jpg", 71)


def test_a_tile_larger_than_any_picture_is_refused(tmp_path: Path) -> None:
    tags = [(256, 100), (257, 100), (258, 8), (259, 8), (262, 1), (277, 1), (322, 2**15), (323, 2**15), (324, 8),
            (325, 8)]  # fmt: skip
    folder = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    header = b"II*\0" + struct.pack("<I", 16) + zlib.compress(b"")
    (tmp_path / "x.tif").write_bytes(header + struct.pack("<H", len(tags)) + folder + bytes(4))
    with pytest.raises(ImageError, match=r"x\.tif: refused"):
        load_image(tmp_path / "x.tif", 71)


def peak_of(work: Callable[[], object]) -> float:
    """Megabytes that Python and NumPy hold at once; Pillow's own images are not among them."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_deep_images_take_a_few_bytes_per_pixel(tmp_path: Path) -> None:
    values = np.tile(np.arange(4000, dtype=np.uint16) * 16, (4000, 1))
    Image.fromarray(values).save(tmp_path / "x.tif")
    # The file's 32 MB, the result's 16, and bands; in float64 alone it would be 128.
    assert peak_of(lambda: open_grey(tmp_path / "x.tif")) < 100


# --- DICOM ---


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A DICOM file of 64 x 64 pixels."""
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import ramp, written

    return written(tmp_path / "plain.dcm", ramp())


def with_elements(plain: Path, path: Path, elements: bytes) -> Path:
    """Elements in front of the others of a file."""
    content = plain.read_bytes()
    start = content.index(b"\x08\0\x16\0UI")
    path.write_bytes(content[:start] + elements + content[start:])
    return path


def deflated(plain: Path, path: Path, elements: list[bytes]) -> Path:
    """A file deflated, with more elements in front."""
    content = plain.read_bytes()
    start = content.index(b"\x08\0\x16\0UI")
    meta = content[:start]
    short, long = b"UI\x14\0" + b"1.2.840.10008.1.2.1\0", b"UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    assert short in meta
    size = meta.index(b"\x02\0\0\0UL\x04\0") + 8
    length = int.from_bytes(meta[size : size + 4], "little") + 2
    meta = (meta[:size] + length.to_bytes(4, "little") + meta[size + 4 :]).replace(short, long)
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [compressor.compress(piece) for piece in (*elements, content[start:])]
    path.write_bytes(b"".join([meta, *pieces, compressor.flush()]))
    return path


@pytest.mark.slow
@needs_linux
def test_a_deflated_file_does_not_fill_the_memory(plain: Path, tmp_path: Path) -> None:
    good = deflated(plain, tmp_path / "good.dcm", [])
    assert np.array_equal(load_image(good, 64), load_image(plain, 64))
    zeros = [b"\x09\0\x01\0OB\0\0" + struct.pack("<I", 3 * 2**28), *[bytes(2**20)] * (3 * 2**8)]
    bomb = deflated(plain, tmp_path / "x.dcm", zeros)
    assert bomb.stat().st_size < 2**23
    message, megabytes = read_apart(bomb)
    assert "x.dcm: refused, inflates to more than 256 MiB" in message
    assert megabytes < 600
    with pytest.raises(ImageError, match="before its pixels"):
        dicom_facts(bomb)


@needs_linux
@pytest.mark.parametrize("place", ["in the inflated bytes", "behind an element without a length"])
def test_no_header_hides_that_a_file_is_deflated(plain: Path, tmp_path: Path, place: str) -> None:
    """pydicom inflates by the last name of a transfer syntax that it reads, as far as it goes."""

    def packed(*pieces: bytes) -> bytes:
        compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        return b"".join([*map(compressor.compress, pieces), compressor.flush()])

    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.1.99"
    body = packed(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 2**29), *[bytes(2**20)] * 512)
    if place == "in the inflated bytes":
        content = syntax + packed(syntax + body)
    else:
        endless = struct.pack("<HH2sHI", 2, 2, b"OB", 0, 0xFFFFFFFF) + b"\1" * 70_000
        content = endless + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + syntax + body
    bomb = tmp_path / "x.dcm"
    bomb.write_bytes(bytes(128) + b"DICM" + content)
    message, megabytes = read_apart(bomb)
    assert "x.dcm: a damaged DICOM file (deflated, by a header that is out of order)" in message
    assert megabytes < 300


def test_too_many_elements_are_refused(plain: Path, tmp_path: Path) -> None:
    # The smallest have 8 bytes; with 64 the time that the test takes is an eighth, and what is refused is the bytes.
    element = struct.pack("<HH2sH", 9, 0x10, b"LO", 56) + bytes(56)
    bomb = with_elements(plain, tmp_path / "x.dcm", element * 2**18)
    for read in (lambda: load_image(bomb, 64), lambda: dicom_facts(bomb)):
        with pytest.raises(ImageError, match="more than 5 MiB of a DICOM file before its pixels"):
            read()


def compressed(plain: Path, path: Path, syntax: str) -> tuple[Path, bytes]:
    import pydicom

    data = pydicom.dcmread(plain)
    try:
        data.compress(getattr(pydicom.uid, syntax))
    except RuntimeError as error:
        pytest.skip(f"pydicom cannot write {syntax} here: {error}")
    data.save_as(path)
    return path, path.read_bytes()


def test_a_frame_that_would_unpack_to_more_than_its_tags_say_is_refused(plain: Path, tmp_path: Path) -> None:
    path, content = compressed(plain, tmp_path / "x.dcm", "JPEG2000Lossless")
    assert np.array_equal(load_image(path, 64), load_image(plain, 64))
    size = content.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(content[:size] + struct.pack(">II", 60_000, 60_000) + content[size + 8 :])
    with pytest.raises(ImageError, match="60000 x 60000 pixels"):
        load_image(path, 64)


def test_a_table_of_offsets_leads_to_no_frame_that_was_not_checked(plain: Path, tmp_path: Path) -> None:
    import pydicom
    from pydicom.encaps import encapsulate, generate_frames

    from tests.test_dicom import ramp, written

    other = written(tmp_path / "other.dcm", ramp()[::-1])
    files = [compressed(path, tmp_path / f"{path.stem}-j2k.dcm", "JPEG2000Lossless")[0] for path in (plain, other)]
    streams = [next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)) for path in files]
    data = pydicom.dcmread(files[0])
    data.PixelData = b"".join(encapsulate([stream], has_bot=False)[8 * index :] for index, stream in enumerate(streams))
    data.ExtendedOffsetTable = struct.pack("<Q", 8 + len(streams[0]))
    data.ExtendedOffsetTableLengths = struct.pack("<Q", len(streams[1]))
    data.save_as(tmp_path / "x.dcm")
    assert np.array_equal(pydicom.dcmread(tmp_path / "x.dcm").pixel_array, pydicom.dcmread(other).pixel_array)
    assert np.array_equal(load_image(tmp_path / "x.dcm", 64), load_image(plain, 64))


def test_a_palette_in_segments_is_refused(plain: Path, tmp_path: Path) -> None:
    """Of 400 segments, each would expand to 65,535 entries."""
    import pydicom

    data = pydicom.dcmread(plain)
    data.PhotometricInterpretation = "PALETTE COLOR"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = bytes(64 * 64)
    for colour in ("Red", "Green", "Blue"):
        data.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        segments = struct.pack("<3H", 0, 1, 7) + struct.pack("<3H", 1, 65535, 7) * 400
        setattr(data, f"Segmented{colour}PaletteColorLookupTableData", segments)
    data.save_as(tmp_path / "x.dcm")
    with pytest.raises(ImageError, match=r"x\.dcm.*a palette in segments"):
        load_image(tmp_path / "x.dcm", 64)


def with_stream(path: Path, stream: bytes, syntax: str = "") -> Path:
    """A compressed file whose frame is another stream."""
    import pydicom
    from pydicom.encaps import encapsulate

    data = pydicom.dcmread(path)
    data.PixelData = encapsulate([stream])
    if syntax:
        data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.save_as(path)
    return path


def jp2(pixels: np.ndarray, box: bytes = b"") -> bytes:
    """A JP2 file with one more box in front of its header."""
    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, "JPEG2000", no_jp2=False)
    except (KeyError, OSError):
        pytest.skip("this Pillow does not write JPEG 2000")
    content = stream.getvalue()
    start = 12 + int.from_bytes(content[12:16], "big")
    uuid = struct.pack(">I4s16x", 24 + len(box), b"uuid") + box if box else b""
    return content[:start] + uuid + content[start:]


def refused_undecoded(path: Path, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pydicom.pixels.pixel_array", lambda *_, **__: pytest.fail("given to a decoder"))
        with pytest.raises(ImageError, match=reason):
            load_image(path, 64)


def small_siz() -> bytes:
    """The start of a codestream of 64 x 64 pixels in one plane."""
    return struct.pack(">HHHHIIIIIIIIH", 0xFF4F, 0xFF51, 41, 0, 64, 64, 0, 0, 64, 64, 0, 0, 1)


@pytest.mark.parametrize("box", [bytes(400), small_siz()], ids=["long", "with a size of its own"])
def test_no_box_of_a_jp2_file_hides_its_size(
    box: bytes, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = compressed(plain, tmp_path / "x.dcm", "JPEG2000Lossless")
    pixels = np.asarray(open_grey(plain))
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    with_tags(path, **bits)
    for honest in (jp2(pixels), jp2(pixels, box)):
        assert np.array_equal(np.asarray(open_grey(with_stream(path, honest))), pixels)
    large = np.zeros((128, 128), np.uint8)
    refused_undecoded(with_stream(path, jp2(large, box)), "128 x 128 pixels in 1 planes", monkeypatch)
    cut = jp2(large, box)
    refused_undecoded(with_stream(path, cut[: cut.index(b"jp2c")]), "without a codestream", monkeypatch)


def with_tags(path: Path, **tags: object) -> None:
    import pydicom

    data = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path)


@pytest.mark.parametrize(
    "stray",
    [
        b"AA",
        b"\xff\x01",
        b"\xff\xd0",
        # Taken for a segment, its length would lead to a second header, which gives the size that the tags have.
        b"\xff\x01\xff\xc0",
        b"\xff\xf0\0\x0d\xff\xc0\0\x0b\x08\0\x40\0\x40\1",
    ],
    ids=["bytes", "TEM", "RST0", "TEM as length", "JPG0"],
)
def test_nothing_before_a_jpegs_frame_header_hides_its_size(
    stray: bytes, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = compressed(plain, tmp_path / "x.dcm", "RLELossless")
    with_tags(path, BitsAllocated=8, BitsStored=8, HighBit=7)
    baseline = "1.2.840.10008.1.2.4.50"
    stream = io.BytesIO()
    Image.new("L", (64, 64), 90).save(stream, "JPEG", comment=b"honest")
    assert (np.asarray(open_grey(with_stream(path, stream.getvalue(), baseline))) == 90).all()
    stream = io.BytesIO()
    Image.new("L", (128, 128)).save(stream, "JPEG")
    content = stream.getvalue()
    hostile = content[:2] + stray + content[2:]
    refused_undecoded(with_stream(path, hostile, baseline), "whose size cannot be read", monkeypatch)
    refused_undecoded(with_stream(path, content[2:], baseline), "whose size cannot be read", monkeypatch)


@pytest.mark.parametrize(
    ("header", "runs", "reason"),
    [
        ((15, *[64] * 15), b"\x80" * 2**20, "15 RLE segments, where the tags say 2"),
        ((2, 64, 64), b"\x80" * 2**20, "overlap"),
        ((2, 64, 65), b"\x80" * 2**20, "larger than their pixels"),
        ((2, 70, 64), b"\x80" * 100, "overlap"),
        ((0,), b"", "0 RLE segments"),
    ],
    ids=["too many", "overlapping", "too large", "descending", "none"],
)
def test_the_check_of_runs_takes_no_time_itself(
    header: tuple[int, ...],
    runs: bytes,
    reason: str,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, _ = compressed(plain, tmp_path / "x.dcm", "RLELossless")
    stream = struct.pack("<16I", *header, *[0] * (16 - len(header))) + runs
    with_stream(path, stream)
    start = time.monotonic()
    refused_undecoded(path, reason, monkeypatch)
    assert time.monotonic() - start < 1


def test_too_many_runs_and_fragments_are_refused(plain: Path, tmp_path: Path) -> None:
    path, content = compressed(plain, tmp_path / "x.dcm", "RLELossless")
    assert np.array_equal(load_image(path, 64), load_image(plain, 64))
    end = content.rindex(b"\xfe\xff\xdd\xe0")
    path.write_bytes(content[:end] + b"\xfe\xff\x00\xe0\2\0\0\0AA" * 2000 + content[end:])
    with pytest.raises(ImageError, match="fragments"):
        load_image(path, 64)
    (tmp_path / "y.dcm").write_bytes(content)
    runs = b"\x81\0" * 4096
    with_stream(tmp_path / "y.dcm", struct.pack("<16I", 2, 64, 64 + len(runs) // 2, *[0] * 13) + runs)
    with pytest.raises(ImageError, match="more pixels than the tags say"):
        load_image(tmp_path / "y.dcm", 64)


def test_deep_dicom_images_take_a_few_bytes_per_pixel(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    values = np.tile(np.arange(4000, dtype=np.uint16) * 16, (4000, 1))
    path = written(tmp_path / "x.dcm", values, 16, RescaleSlope=1, RescaleIntercept=-5)
    # Three times 32 MB (file, element, values), the result's 16, and bands; in float64 it would be 128 more, and again.
    assert peak_of(lambda: open_grey(path)) < 170
