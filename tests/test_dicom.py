"""DICOM by the written rule, against expectations computed here from the stored values; needs the `dicom` extra."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge.artifacts.migration import current_rule
from cxr_edge.errors import ImageError
from cxr_edge.imaging import decode
from cxr_edge.imaging.dicom import dicom_facts, warnings_about, warnings_of
from cxr_edge.imaging.dicom_files import is_dicom
from cxr_edge.imaging.rule import NO_DICOM, RULE, VERSION, WITH_GROUPS, ImagingRule, same_pixels
from cxr_edge.records import from_json
from cxr_edge.runtimes.selection import warning_about_image
from tests.artifacts import some_artifact

pydicom = pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid  # noqa: E402


def shipped(name: str) -> Path:
    """A test file inside pydicom's wheel."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this version of pydicom does not ship {name}")
    return Path(str(path))


def written(path: Path, values: np.ndarray, bits: int = 12, **tags: Any) -> Path:
    """A DICOM file of grey values `[rows, columns]`, signed by their dtype, or of RGB `[rows, columns, 3]`."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns = values.shape[:2]
    data.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    data.BitsAllocated = values.dtype.itemsize * 8
    data.BitsStored, data.HighBit = bits, bits - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def grey(path: Path) -> np.ndarray:
    return np.asarray(decode.open_grey(path), dtype=int)


def ramp(low: int = 0, high: int = 4095, dtype: Any = np.uint16) -> np.ndarray:
    return np.linspace(low, high, 64 * 64).reshape(64, 64).astype(dtype)


def window(values: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, onto 0..255."""
    return np.round(np.clip(((values - (center - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)).astype(int)


def stretched(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    return np.round((values - values.min()) / (values.max() - values.min()) * 255).astype(int)


def test_the_rule_is_part_of_every_artifacts_contract() -> None:
    assert "MONOCHROME1" in RULE.description
    assert same_pixels(RULE)
    assert same_pixels(replace(RULE, description="in other words"))
    for changed in ({"dicom": "another"}, {"dicom": NO_DICOM}, {"version": VERSION + 1}, {"filter": "nearest"}):
        assert not same_pixels(replace(RULE, **changed))


#: As stored in artifacts from before DICOM was supported, and from before functional groups were read.
FIRST_RULE = {
    "decoder": "Pillow",
    "orientation": "EXIF orientation applied",
    "grey": "ITU-R 601-2 luma; alpha ignored; 16-bit and 32-bit grey stretched from its own minimum..maximum to 0..255",
    "resize": "stretch to S x S",
    "filter": "bilinear, antialiased",
    "version": 1,
}
SECOND_RULE = {
    **FIRST_RULE,
    "dicom": "by content (DICM at byte 128); one frame; modality LUT or rescale; first VOI LUT, else first window, "
    "over its whole output range; without either, up to 8 bits over the stored range and deeper ones from their own "
    "minimum..maximum without padding; MONOCHROME1 inverted; colour to RGB, then luma; overlays and presentation LUT "
    "ignored",
}


@pytest.mark.parametrize("rule", [FIRST_RULE, SECOND_RULE])
def test_bundles_of_earlier_versions_see_the_pixels_they_were_trained_on(rule: dict[str, Any], tmp_path: Path) -> None:
    def read(**changes: Any) -> ImagingRule:
        return from_json(ImagingRule, current_rule({**rule, **changes}))

    assert same_pixels(read())
    assert read().resize_here == "stretch"
    padded = read(resize="fit into S x S, its proportions kept, centred on black")
    assert same_pixels(padded)
    assert padded.resize_here == "pad"
    for changed in ({"version": VERSION + 1}, {"filter": "nearest"}, {"dicom": "another"}, {"resize": "crop"}):
        assert not same_pixels(read(**changed))
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "x.png")
    for path in (tmp_path / "x.png", shipped("MR_small.dcm"), shipped("SC_rgb_rle.dcm")):
        assert not decode.reads_otherwise(read(), path)


def test_a_file_that_an_earlier_version_read_differently_is_warned_of(tmp_path: Path) -> None:
    windowed, identity, rescaled = grouped(window_item(2000, 1000)), grouped(rescale_item(1, 0)), rescale_item(-1, 9)
    files = {
        written(tmp_path / "window", ramp(), **windowed): True,
        written(tmp_path / "rescale", ramp(), **grouped(rescaled)): True,
        written(tmp_path / "identity", ramp(), **identity): False,
        written(tmp_path / "both", ramp(), WindowCenter=2000, WindowWidth=1000, **windowed): False,
        written(
            tmp_path / "function", ramp(), **grouped(item(FrameVOILUTSequence=[item(VOILUTFunction="SIGMOID")]))
        ): False,
        written(tmp_path / "colour", np.zeros((64, 64, 3), np.uint8), 8, **windowed): False,
    }
    first, second = (from_json(ImagingRule, current_rule(rule)) for rule in (FIRST_RULE, SECOND_RULE))
    artifact = some_artifact(Path("x-int8.onnx"), imaging=second)
    for path, otherwise in files.items():
        assert decode.reads_otherwise(second, path) == (decode.Otherwise.GROUPS if otherwise else None), path.name
        assert not decode.reads_otherwise(RULE, path)
        # That one was trained before a DICOM file could be read at all.
        assert not decode.reads_otherwise(first, path)
        assert ("x-int8.onnx" in (warning_about_image(artifact, path) or "")) == otherwise


def palettes(
    folder: Path, tables: np.ndarray, indices_in: str = "<u2", entries_in: str = "<u2", pixels_vr: str = "OW"
) -> dict[str, Path]:
    """An image of every index of a palette `[3, 256]`, in either byte order; indices and entries of 8 or 16 bits.

    Pixels of 8 bits may be bytes (VR OB), or lie two in a word (OW), which then has an order of bytes too.
    """
    indices = (np.arange(64 * 64).reshape(64, 64) % 256).astype(indices_in)
    tags: dict[str, Any] = {}
    for colour, table in zip(("Red", "Green", "Blue"), tables.astype(entries_in), strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 8 * table.itemsize]
        tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    bits = 8 * indices.itemsize
    little = written(folder / "little.dcm", indices, bits, PhotometricInterpretation="PALETTE COLOR", **tags)
    data = pydicom.dcmread(little)
    words = [name for name in tags if name.endswith("Data")] + ["PixelData"] * (pixels_vr == "OW")
    for name in words:
        setattr(data, name, np.frombuffer(data[name].value, "<u2").astype(">u2").tobytes())
    data["PixelData"].VR = pixels_vr
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    pydicom.dcmwrite(folder / "big.dcm", data, implicit_vr=False, little_endian=False)
    return {"little": little, "big": folder / "big.dcm"}


COLOURS = np.stack([np.arange(256) * 257, np.arange(256) * 200, 65535 - np.arange(256) * 99])


@pytest.mark.parametrize("indices_in", ["<u2", "u1 OW", "u1 OB"])
@pytest.mark.parametrize("entries_in", ["<u2", "u1"])
def test_a_big_endian_palette_is_read_as_a_little_endian_one(indices_in: str, entries_in: str, tmp_path: Path) -> None:
    """8-bit indices with 16-bit entries are what pydicom's OBXXXX1A_expb.dcm has."""
    dtype, _, vr = indices_in.partition(" ")
    tables = COLOURS if entries_in == "<u2" else COLOURS >> 8
    shades = np.round(COLOURS.T * (255 / 65535)) if entries_in == "<u2" else tables.T
    expected = luma(shades.astype(np.uint8)[np.arange(64 * 64).reshape(64, 64) % 256])
    for path in palettes(tmp_path, tables, dtype, entries_in, vr or "OW").values():
        assert np.array_equal(grey(path), expected), path.name


def test_a_model_trained_on_misread_big_endian_palettes_is_warned_of(tmp_path: Path) -> None:
    second = from_json(ImagingRule, current_rule(SECOND_RULE))
    third = replace(RULE, version=2, dicom=WITH_GROUPS)
    assert same_pixels(third)
    files = palettes(tmp_path, COLOURS)
    for rule in (second, third):
        assert decode.reads_otherwise(rule, files["big"]) is decode.Otherwise.PALETTE
        assert decode.reads_otherwise(rule, files["little"]) is None
        line = warning_about_image(some_artifact(Path("x-int8.onnx"), imaging=rule), files["big"])
        assert line is not None and "byte order" in line and "x-int8.onnx" in line
    for rule in (RULE, from_json(ImagingRule, current_rule(FIRST_RULE))):
        assert decode.reads_otherwise(rule, files["big"]) is None
    # Words of two equal bytes are the same either way.
    assert decode.reads_otherwise(third, palettes(tmp_path, np.stack([np.arange(256) * 257] * 3))["big"]) is None


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
                                  "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])  # fmt: skip
def test_a_window_in_every_lossless_transfer_syntax(name: str) -> None:
    # The uncompressed file of the series: its pixels are the last 8192 bytes before a trailing padding element.
    content = shipped("MR_small.dcm").read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 12
    stored = np.frombuffer(content[start : start + 8192], "<i2").reshape(64, 64)
    assert np.abs(grey(shipped(name)) - window(stored, 600, 1600)).max() <= 1


def test_without_a_window_deep_values_are_stretched_without_padding() -> None:
    data = pydicom.dcmread(shipped("CT_small.dcm"))
    stored = np.frombuffer(data.PixelData, "<i2").reshape(128, 128)
    assert data.PixelPaddingValue == -2000
    assert np.array_equal(grey(shipped("CT_small.dcm")), stretched(stored))


def test_padding_does_not_take_part_in_the_stretch(tmp_path: Path) -> None:
    values = ramp(1000, 3000, np.int16)
    values[:, :8] = -2000
    expected = np.clip(np.round((values - 1000.0 - (values[0, 8] - 1000)) * 255 / (3000 - values[0, 8])), 0, 255)
    pixels = grey(written(tmp_path / "x.dcm", values, 16, PixelPaddingValue=-2000))
    assert np.array_equal(pixels, expected)


def test_the_first_of_several_windows_is_used() -> None:
    data = pydicom.dcmread(shipped("examples_overlay.dcm"))
    assert list(data.WindowWidth) == [790, 443]
    stored = np.frombuffer(data.PixelData, "<u2").reshape(data.Rows, data.Columns)
    assert np.array_equal(grey(shipped("examples_overlay.dcm")), window(stored, 450, 790))


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    values = ramp()
    path = written(
        tmp_path / "x.dcm", values, RescaleSlope=0.5, RescaleIntercept=-200, WindowCenter=500, WindowWidth=900
    )
    assert np.array_equal(grey(path), window(values * 0.5 - 200, 500, 900))
    # A falling rescale: the window's output range is upside down, its white is still white.
    path = written(
        tmp_path / "y.dcm", values, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=2048, WindowWidth=4096
    )
    assert np.array_equal(grey(path), window(4095.0 - values, 2048, 4096))


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def window_item(center: float, width: float, **tags: Any) -> Dataset:
    return item(FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=width, **tags)])


def rescale_item(slope: float, intercept: float) -> Dataset:
    return item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept)])


def grouped(shared: Dataset, frame: Dataset | None = None) -> dict[str, Any]:
    """The functional groups of a file of one frame."""
    tags = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": [frame or Dataset()]}
    return {"NumberOfFrames": 1, **tags}


def test_rescale_and_window_in_functional_groups(tmp_path: Path) -> None:
    values = ramp()
    expected = window(values * 0.5 - 200, 500, 900)
    rescale, voi = rescale_item(0.5, -200), window_item(500, 900)
    both = item(**{element.keyword: element.value for element in (*rescale, *voi)})
    for name, tags in {
        "of all frames": grouped(both),
        "of the frame": grouped(Dataset(), both),
        "one of each": grouped(rescale, voi),
        "rescale outside": {**grouped(voi), "RescaleSlope": 0.5, "RescaleIntercept": -200},
        "window outside": {**grouped(rescale), "WindowCenter": 500, "WindowWidth": 900},
        "what is outside goes first": {
            **grouped(rescale_item(3, 3), window_item(9, 9)), "RescaleSlope": 0.5, "RescaleIntercept": -200,
            "WindowCenter": 500, "WindowWidth": 900,
        },
        "outside is empty": {**grouped(both), "WindowCenter": None, "WindowWidth": None, "VOILUTSequence": []},
    }.items():  # fmt: skip
        assert np.array_equal(grey(written(tmp_path / name, values, **tags)), expected), name
    # A LUT outside is a modality LUT too, and the group's rescale no part of it.
    falling = np.linspace(60000, 100, 4096).round()
    outside = {"ModalityLUTSequence": [lookup_table(falling, 0, 16)], "WindowCenter": 30000, "WindowWidth": 40000}
    path = written(tmp_path / "lut", values, **outside, **grouped(rescale))
    assert np.array_equal(grey(path), window(falling[values], 30000, 40000))


def test_a_voi_lut_or_function_in_functional_groups(tmp_path: Path) -> None:
    values = ramp()
    curve = np.round(np.linspace(0, 1, 4096) ** 2 * 4095)
    tags = grouped(item(FrameVOILUTSequence=[item(VOILUTSequence=[lookup_table(curve, 0, 12)])]))
    assert np.array_equal(grey(written(tmp_path / "x.dcm", values, **tags)), np.round(curve[values] * 255 / 4095))
    tags = grouped(window_item(2000, 1000, VOILUTFunction="SIGMOID"))
    pixels = grey(written(tmp_path / "y.dcm", values, **tags))
    assert np.array_equal(pixels, np.round(255 / (1 + np.exp(-4 * (values - 2000.0) / 1000))))


@pytest.mark.parametrize("shared", [[], [Dataset()], [item(FrameVOILUTSequence=[])],
                                    [item(FrameVOILUTSequence=[item(VOILUTFunction="LINEAR")])]])  # fmt: skip
def test_functional_groups_without_a_window_change_nothing(tmp_path: Path, shared: list[Dataset]) -> None:
    values = ramp(1000, 3000)
    tags = {"SharedFunctionalGroupsSequence": shared, "PerFrameFunctionalGroupsSequence": []}
    assert np.array_equal(grey(written(tmp_path / "x.dcm", values, **tags)), stretched(values))


def test_window_functions(tmp_path: Path) -> None:
    values = ramp()
    tags = {"WindowCenter": 2000, "WindowWidth": 1000}
    pixels = grey(written(tmp_path / "x.dcm", values, VOILUTFunction="SIGMOID", **tags))
    assert np.array_equal(pixels, np.round(255 / (1 + np.exp(-4 * (values - 2000.0) / 1000))))
    pixels = grey(written(tmp_path / "y.dcm", values, VOILUTFunction="LINEAR_EXACT", **tags))
    assert np.array_equal(pixels, np.round(np.clip((values - 2000.0) / 1000 + 0.5, 0, 1) * 255))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    tags = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = grey(written(tmp_path / "x.dcm", ramp(), **tags))
    inverted = grey(written(tmp_path / "y.dcm", ramp(), PhotometricInterpretation="MONOCHROME1", **tags))
    assert np.array_equal(inverted, 255 - plain)
    assert plain[0, 0] == 0
    assert inverted[0, 0] == 255


def lookup_table(entries: np.ndarray, first: int, bits: int, packed: str = "<u2") -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    content = entries.astype(packed).tobytes()
    table.add_new(0x00283006, "OW", content + bytes(len(content) % 2))
    return table


@pytest.mark.parametrize(
    ("bits", "packed", "count"),
    [(8, "<u2", 3000), (8, "u1", 3000), (8, "u1", 2999), (12, "<u2", 3000), (16, "<u2", 3000)],
)
def test_a_voi_lut_is_preferred_to_a_window(tmp_path: Path, bits: int, packed: str, count: int) -> None:
    values, top = ramp(), 2**bits - 1
    curve = np.round(np.linspace(0, 1, count) ** 2 * top)
    tags = {"WindowCenter": 100, "WindowWidth": 10, "RescaleSlope": 1, "RescaleIntercept": -100}
    path = written(tmp_path / "x.dcm", values, VOILUTSequence=[lookup_table(curve, 500, bits, packed)], **tags)
    expected = curve[np.clip(values.astype(int) - 100 - 500, 0, count - 1)] * 255 / top
    assert np.array_equal(grey(path), np.round(expected))


def test_a_modality_lut(tmp_path: Path) -> None:
    values = ramp()
    falling = np.linspace(60000, 100, 4096).round()
    path = written(
        tmp_path / "x.dcm", values, ModalityLUTSequence=[lookup_table(falling, 0, 16)],
        WindowCenter=30000, WindowWidth=40000,
    )  # fmt: skip
    assert np.array_equal(grey(path), window(falling[values], 30000, 40000))


def test_eight_bits_without_a_window_are_taken_as_they_are(tmp_path: Path) -> None:
    values = ramp(20, 130, np.uint8)
    assert np.array_equal(grey(written(tmp_path / "x.dcm", values, 8)), values)
    assert np.array_equal(grey(written(tmp_path / "y.dcm", values, 8, RescaleSlope=2, RescaleIntercept=-7)), values)


def test_twelve_bit_jpeg_is_stretched() -> None:
    pixels = grey(shipped("JPGExtended.dcm"))
    assert pixels.shape == (1024, 256)
    assert (pixels.min(), pixels.max()) == (0, 255)
    # The same picture in JPEG 2000; both are lossy.
    other = grey(shipped("JPEG2000.dcm"))
    assert np.corrcoef(pixels.reshape(-1), other.reshape(-1))[0, 1] > 0.9


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb.astype(np.uint8)).convert("L"), dtype=int)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    assert np.array_equal(grey(written(tmp_path / "x.dcm", values, 8)), luma(values))
    plain = grey(shipped("SC_rgb_rle.dcm"))
    for name in ("SC_rgb_rle_16bit.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jpeg_dcmtk.dcm",
                 "SC_ybr_full_422_uncompressed.dcm"):  # fmt: skip
        assert np.abs(grey(shipped(name)) - plain).max() <= 3, name


def test_a_palette_becomes_luma() -> None:
    data = pydicom.dcmread(shipped("examples_palette.dcm"))
    indices = np.frombuffer(data.PixelData, np.uint8)[: data.Rows * data.Columns].reshape(data.Rows, data.Columns)
    tables = []
    for name in ("Red", "Green", "Blue"):
        entries, first, bits = data[f"{name}PaletteColorLookupTableDescriptor"].value
        raw = data[f"{name}PaletteColorLookupTableData"].value
        table = np.frombuffer(raw, "<u2" if bits == 16 else np.uint8).astype(float) / (2**bits - 1) * 255
        tables.append(np.round(table[np.clip(indices.astype(int) - first, 0, entries - 1)]))
    assert np.array_equal(grey(shipped("examples_palette.dcm")), luma(np.stack(tables, axis=-1)))


def test_deflated_files_are_read() -> None:
    assert grey(shipped("image_dfl.dcm")).shape == (512, 512)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("examples_ybr_color.dcm", "30 frames"), ("test-SR.dcm", "without an image"), ("rtplan.dcm", "without an image"),
     ("MR_truncated.dcm", "cannot be decoded"), ("badVR.dcm", "cannot be decoded")],
)  # fmt: skip
def test_a_file_that_is_not_a_single_picture_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"{name}.*{reason}"):
        decode.load_image(shipped(name), 71)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = shipped("MR_small.dcm").read_bytes()
    for length in (132, 150, 400, 1500, 5000):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"cut\.dcm"):
            decode.load_image(tmp_path / "cut.dcm", 71)
    (tmp_path / "text.dcm").write_text("not DICOM")
    with pytest.raises(ImageError, match=r"text\.dcm: not a DICOM file"):
        decode.load_image(tmp_path / "text.dcm", 71)
    written(tmp_path / "bomb.dcm", ramp(), Rows=60000, Columns=60000)
    with pytest.raises(ImageError, match=r"bomb\.dcm.*bomb"):
        decode.load_image(tmp_path / "bomb.dcm", 71)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    for name in ("IM000001", "1.2.840.4711", "x.png"):
        shutil.copy(shipped("MR_small.dcm"), tmp_path / name)
        assert is_dicom(tmp_path / name)
        assert np.array_equal(grey(tmp_path / name), grey(shipped("MR_small.dcm")))
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "y.png")
    (tmp_path / "y.png").rename(tmp_path / "y.dcm")
    assert np.array_equal(grey(tmp_path / "y.dcm"), ramp(0, 255, np.uint8))


def test_bytes_in_memory_give_the_same_picture_as_the_file(tmp_path: Path) -> None:
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "x.png")
    for path in (tmp_path / "x.png", shipped("MR_small.dcm")):
        image = decode.open_grey("elsewhere", path.read_bytes())
        assert np.array_equal(np.asarray(image), grey(path))
    for content in (b"", b"text", shipped("MR_small.dcm").read_bytes()[:3000]):
        with pytest.raises(ImageError, match="elsewhere"):
            decode.open_grey("elsewhere", content)


def test_tags_of_an_unsuitable_picture_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "x.dcm", ramp(), Modality="DX", ViewPosition="PA", BurnedInAnnotation="NO")
    assert dicom_facts(path)["view_position"] == "PA"
    assert warnings_about(dicom_facts(path)) == []
    path = written(tmp_path / "y.dcm", ramp(), Modality="DX", ViewPosition="LL", BurnedInAnnotation="YES")
    warnings = warnings_about(dicom_facts(path))
    assert len(warnings) == 2
    assert any("burnt" in line for line in warnings) and any("LL" in line for line in warnings)
    code = Dataset()
    code.CodeMeaning = "left lateral"
    path = written(tmp_path / "z.dcm", ramp(), ViewCodeSequence=[code], PresentationIntentType="FOR PROCESSING")
    warnings = warnings_about(dicom_facts(path))
    assert any("left lateral" in line for line in warnings) and any("FOR PROCESSING" in line for line in warnings)
    code.CodeMeaning = "antero-posterior"
    path = written(tmp_path / "v.dcm", ramp(), ViewCodeSequence=[code])
    assert warnings_about(dicom_facts(path)) == []
    assert any("CT" in line for line in warnings_about(dicom_facts(shipped("CT_small.dcm"))))


def test_many_files_are_warned_of_by_count(tmp_path: Path) -> None:
    for index in range(3):
        written(tmp_path / f"lateral {index}", ramp(), ViewPosition="LL", BurnedInAnnotation="YES" if index else "NO")
    written(tmp_path / "good.dcm", ramp(), ViewPosition="PA")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "good.dcm").read_bytes()[:140])
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "x.png")
    warnings = warnings_of(sorted(tmp_path.iterdir()))
    assert list(warnings.values()) == [3, 2]
    assert "LL" in next(iter(warnings))


def test_without_pydicom_the_missing_extra_is_named_and_other_files_are_read(tmp_path: Path) -> None:
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "x.png")
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from cxr_edge.imaging.decode import load_image\n"
        f"load_image({str(tmp_path / 'x.png')!r}, 71)\n"
        f"load_image({str(shipped('MR_small.dcm'))!r}, 71)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert "MissingDependencyError" in last
    assert "MR_small.dcm" in last
    assert "pip install 'cxr-edge[dicom]'" in last


def test_without_a_decoder_the_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pylibjpeg', 'openjpeg', 'libjpeg', 'gdcm', 'jpeg_ls')))\n"
        "from cxr_edge.imaging.decode import load_image\n"
        f"load_image({str(shipped('SC_rgb_rle.dcm'))!r}, 71)\n"
        f"load_image({str(shipped('SC_rgb_jpeg_gdcm.dcm'))!r}, 71)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert "MissingDependencyError" in last
    assert "SC_rgb_jpeg_gdcm.dcm: a decoder of JPEG Lossless" in last
    assert "pip install 'cxr-edge[dicom]'" in last


def test_pydicom_is_imported_for_dicom_alone(tmp_path: Path) -> None:
    Image.fromarray(ramp(0, 255, np.uint8)).save(tmp_path / "x.png")
    code = (
        "import sys; from cxr_edge.imaging.decode import load_image\n"
        f"load_image({str(tmp_path / 'x.png')!r}, 71); print('pydicom' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
