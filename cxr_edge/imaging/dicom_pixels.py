"""DICOM files -> 8-bit grey by `dicom_files.RULE`. Imported only for DICOM files, as is pydicom."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.errors import ImageError, MissingDependencyError
from cxr_edge.imaging.dicom import MAX_HEADER, inflated, read_header, reading
from cxr_edge.imaging.dicom_streams import refuse_bombs
from cxr_edge.imaging.reading import MAX_BYTES

if TYPE_CHECKING:
    from pydicom import Dataset

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_PIXEL_DATA = 0x7FE00010
#: Transformations that an enhanced image has in a frame's functional groups: the name of the group, and those of the
#: LUT and of the pair of numbers that other images have at the top level.
_TRANSFORMATIONS = (
    ("PixelValueTransformationSequence", "ModalityLUTSequence", ("RescaleSlope", "RescaleIntercept")),
    ("FrameVOILUTSequence", "VOILUTSequence", ("WindowCenter", "WindowWidth")),
)
_PALETTE = "PALETTE COLOR"
_OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
_TABLES = tuple(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue", "Alpha"))
# Decoders of lossy streams differ in the last bit, and a picture must not depend on which ones are installed.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pylibjpeg",  # JPEG extended, 12 bits
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # high-throughput JPEG 2000
}


#: Samples (pixels times colours) of a compressed or a coloured image: decoders and conversions need several times their
#: size at once. Twice the largest detector.
_MOST_SAMPLES = 40_000_000
#: Pixels converted at a time, to keep intermediate results in float64 small.
_BAND = 2**20


def read_grey(path: Path | str, max_pixels: int, content: bytes) -> Image.Image:
    """Decode a DICOM file at its own size to 8-bit grey by `RULE`.

    Args:
        path: for messages.
        max_pixels: an image with more is refused.
        content: the file's bytes.

    Raises:
        ImageError: the file is damaged, has no image or several frames, or is too large.
        MissingDependencyError: pydicom, or the decoder of this file's compression, is not installed.
    """
    data = _read(path, content)
    try:
        if "Rows" not in data or not any(name in data for name in _PIXELS):
            raise ImageError(f"{path}: a DICOM file without an image (modality {data.get('Modality') or 'unknown'})")
        pixels = int(data.Rows) * int(data.Columns)
        samples = pixels * int(data.get("SamplesPerPixel") or 1)
        compressed = bool(data.file_meta.TransferSyntaxUID.is_encapsulated)
        if pixels > max_pixels or (samples > _MOST_SAMPLES and (compressed or samples > pixels)):
            raise ImageError(f"{path}: refused, {data.Columns} x {data.Rows} pixels look like a decompression bomb")
        frames = int(data.get("NumberOfFrames") or 1)
        if frames != 1:
            raise ImageError(f"{path}: {frames} frames; a chest X-ray has one: save the one that is meant by itself")
        stored = _decoded(path, data)
        if _is_grey(data):
            for item in _from_groups(data):
                data.update(item)
            return Image.fromarray(_grey(data, stored))
        return Image.fromarray(_luma(data, stored))
    except (ImageError, MissingDependencyError):
        raise
    except Exception as error:  # pydicom and its decoders may raise almost anything here too.
        # The decoders' own reasons are in the lines after the first.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{path}: a DICOM file that cannot be decoded ({reason})") from None


def _read(path: Path | str, content: bytes) -> Dataset:
    """All elements up to and including the pixels."""
    with reading(path):
        from pydicom.filereader import read_partial

        content = inflated(content, MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ImageError(f"{path}: refused, inflates to more than {MAX_BYTES >> 20} MiB")
        if len(content) > MAX_HEADER:
            # Raises if there are so many elements before the pixels that reading them would take minutes.
            read_header(path, content)
        data: Dataset = read_partial(BytesIO(content), lambda tag, vr, length: tag > _PIXEL_DATA)
        return data


def _decoded(path: Path | str, data: Dataset) -> NDArray[Any]:
    """Stored values `[rows, columns]`, or `[rows, columns, 3]`, in RGB."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax, plugin = data.file_meta.TransferSyntaxUID, ""
    if syntax.is_encapsulated:
        decoder, plugin = get_decoder(syntax), _DECODERS.get(syntax, "")
        if not decoder.is_available or plugin not in ("", *decoder.available_plugins):
            raise MissingDependencyError(f"{path}: a decoder of {syntax.name}", "dicom")
        # A single frame needs no table of where frames begin, and pydicom would decode what it points at, unchecked.
        for name in _OFFSETS:
            data.pop(name, None)
        refuse_bombs(data)
    stored: NDArray[Any] = pixel_array(data, decoding_plugin=plugin)
    return stored


def _is_grey(data: Dataset) -> bool:
    return bool(data.get("SamplesPerPixel", 1) == 1 and data.PhotometricInterpretation != "PALETTE COLOR")


def _from_groups(data: Dataset) -> list[Dataset]:
    """The transformations of a single-frame file that are present only in functional groups."""
    items = []
    for group, table, numbers in _TRANSFORMATIONS:
        # Each group belongs either to the frame or to all frames, never both.
        for groups in (data.get("PerFrameFunctionalGroupsSequence"), data.get("SharedFunctionalGroupsSequence")):
            item = (groups[0].get(group) or [None])[0] if groups else None
            if item is not None and _has(item, table, numbers) and not _has(data, table, numbers):
                items.append(item)
                break
    return items


def _has(data: Dataset, table: str, numbers: tuple[str, str]) -> bool:
    return bool(data.get(table)) or all(data.get(number) is not None for number in numbers)


def needs_groups(path: Path | str) -> bool:
    """Whether functional groups, which `rule.WITHOUT_GROUPS` ignores, change a DICOM file's picture.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = read_header(path)
    with reading(path):
        # X-ray IODs prescribe a rescale that changes nothing.
        return _is_grey(data) and any(
            (item.get("RescaleSlope"), item.get("RescaleIntercept")) != (1, 0) for item in _from_groups(data)
        )


def has_big_endian_palette(path: Path | str) -> bool:
    """Whether a DICOM file's palette differs between the file's byte order and the usual one.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = read_header(path)
    with reading(path):
        if data.get("PhotometricInterpretation") != _PALETTE or data.file_meta.TransferSyntaxUID.is_little_endian:
            return False
        tables = [np.frombuffer(data[name].value, np.uint16) for name in _TABLES if name in data]
        return any(bool((table != table.byteswap()).any()) for table in tables)


def _looked_up(values: NDArray[Any], table: Dataset, little_endian: bool) -> tuple[NDArray[Any], float]:
    """Values mapped through a DICOM LUT, and the largest value that its declared depth allows.

    Not with pydicom's `apply_voi_lut`, which indexes a table of 8-bit entries with 8-bit numbers, however long it is.
    """
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    # 65536 does not fit in the field and is written as 0.
    entries = entries or 65536
    data = table.LUTData
    if isinstance(data, bytes):
        one_byte = len(data) < 2 * entries
        data = np.frombuffer(data, np.uint8 if one_byte else np.dtype("<u2" if little_endian else ">u2"))
    lut = np.asarray(data).reshape(-1)[:entries]
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, len(lut) - 1)
    return lut[indices], 2.0**bits - 1


def _bands(stored: NDArray[Any]) -> Iterator[slice]:
    """Bands of rows."""
    step = max(1, _BAND // stored.shape[1])
    return (slice(top, top + step) for top in range(0, len(stored), step))


def _modality(data: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """Stored values mapped through the modality LUT or rescale."""
    from pydicom.pixels import apply_modality_lut

    if data.get("ModalityLUTSequence"):
        return _looked_up(stored, data.ModalityLUTSequence[0], data.file_meta.TransferSyntaxUID.is_little_endian)[0]
    return np.asarray(apply_modality_lut(stored, data))


def _shown(data: Dataset, stored: NDArray[Any]) -> NDArray[Any]:
    """Stored values mapped through the modality LUT or rescale, then through the VOI LUT or window."""
    from pydicom.pixels import apply_windowing

    values = _modality(data, stored)
    if data.get("VOILUTSequence"):
        return _looked_up(values, data.VOILUTSequence[0], data.file_meta.TransferSyntaxUID.is_little_endian)[0]
    return np.asarray(apply_windowing(values, data)) if _has_window(data) else values


def _has_window(data: Dataset) -> bool:
    return data.get("WindowCenter") is not None and data.get("WindowWidth") is not None


def _ends(data: Dataset, stored: NDArray[Any]) -> tuple[float, float]:
    """The values of `_shown` that become 0 and 255."""
    from pydicom.pixels import apply_modality_lut, apply_windowing

    bits, signed = int(data.get("BitsStored", 64)), bool(data.get("PixelRepresentation", 0))
    if data.get("VOILUTSequence"):
        return 0.0, 2.0 ** int(data.VOILUTSequence[0].LUTDescriptor[2]) - 1
    if _has_window(data):
        # The ends of its output range, which has its own sign and offset.
        black, white = apply_windowing(np.array([-np.inf, np.inf]), data).tolist()
        return black, white
    if bits <= 8 and "ModalityLUTSequence" not in data:
        stored_range = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        black, white = sorted(apply_modality_lut(stored_range, data).tolist())
        return black, white
    for counts in (lambda part: ~_padding(data, part), lambda part: np.ones(part.shape, np.bool_)):
        counted = (_modality(data, stored[rows])[counts(stored[rows])] for rows in _bands(stored))
        ends = [(values.min(), values.max()) for values in counted if values.size]
        if ends:
            return float(min(low for low, _ in ends)), float(max(high for _, high in ends))
    raise ValueError("no pixels")


def _grey(data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Stored values as uint8 `[rows, columns]`, in bands of rows: 80 million pixels in float64 would take 640 MB."""
    black, white = _ends(data, stored)
    if not np.isfinite([black, white]).all():
        raise ValueError("values that are not numbers")
    scale = 255.0 / (white - black) if white != black else 0.0
    grey = np.empty(stored.shape, np.uint8)
    for rows in _bands(stored):
        values = _shown(data, stored[rows])
        if not np.isfinite(values).all():
            raise ValueError("values that are not numbers")
        grey[rows] = np.clip(np.round((values.astype(np.float64) - black) * scale), 0, 255)
    return np.subtract(255, grey, out=grey) if data.PhotometricInterpretation == "MONOCHROME1" else grey


def _padding(data: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of pixels with the reserved value for areas that the detector did not see."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = data.get("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    padded: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padded


def _luma(data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """The luma, uint8 `[rows, columns]`, of RGB values or of palette indices."""
    from pydicom.pixels import apply_color_lut

    white = 2.0 ** int(data.BitsStored) - 1
    palette = data.PhotometricInterpretation == _PALETTE
    # pydicom expands a segment of six bytes to 65,535 entries, however many the palette has.
    if palette and any(f"Segmented{name}" in data for name in _TABLES):
        raise ValueError("a palette in segments")
    if palette and not data.file_meta.TransferSyntaxUID.is_little_endian:
        _to_little_endian(data)
    grey = np.empty(stored.shape[:2], np.uint8)
    for rows in _bands(stored):
        colours = stored[rows]
        if palette:
            colours = apply_color_lut(colours, data)[..., :3]
            white = float(np.iinfo(colours.dtype).max)
        band = np.clip(np.round(colours * (255.0 / white)), 0, 255).astype(np.uint8)
        grey[rows] = np.asarray(Image.fromarray(band).convert("L"))
    return grey


def _to_little_endian(data: Dataset) -> None:
    """Swap the bytes of a palette's tables, because `apply_color_lut` assumes this machine's byte order."""
    for name in _TABLES:
        if name in data:
            setattr(data, name, np.frombuffer(data[name].value, ">u2").astype("<u2").tobytes())
