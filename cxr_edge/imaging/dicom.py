"""DICOM files -> 8-bit grey by `RULE`, and what their tags say that a classifier should know. pydicom is asked last."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.errors import ImageError, MissingDependencyError, first_line

if TYPE_CHECKING:
    from pydicom import Dataset

#: How a DICOM file's stored values become 0..255; a part of `imaging.rule.RULE`.
RULE = (
    "by content (DICM at byte 128); one frame; modality LUT or rescale; first VOI LUT, else first window, over its "
    "whole output range; each of the two from the frame's functional groups where it stands there alone; without LUT "
    "and window, up to 8 bits over the stored range and deeper ones from their own minimum..maximum without padding; "
    "MONOCHROME1 inverted; colour to RGB, then luma; overlays and presentation LUT ignored"
)
SUFFIXES = frozenset({".dcm", ".dicom"})

#: The tags that `dicom_facts` reports: its keys, and pydicom's keywords.
_TAGS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view_position": "ViewPosition",
    "burned_in_annotation": "BurnedInAnnotation",
    "presentation_intent": "PresentationIntentType",
    "photometric_interpretation": "PhotometricInterpretation",
}
#: Lateral and oblique views, by the standard's terms and by what is written in their stead.
_NOT_FRONTAL = {"LL", "RL", "RLO", "LLO", "LAT", "LATERAL", "LLAT", "RLAT", "OBL", "OBLIQUE"}
#: Computed and digital radiography, radiofluoroscopy, digitised film; secondary capture and other may be anything.
_RADIOGRAPHS = {"CR", "DX", "RG", "RF", "SC", "OT"}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
#: What an enhanced image says of a frame in functional groups: the group, and what another image has outside of one,
#: a LUT or else a pair of numbers.
_TRANSFORMATIONS = (
    ("PixelValueTransformationSequence", "ModalityLUTSequence", ("RescaleSlope", "RescaleIntercept")),
    ("FrameVOILUTSequence", "VOILUTSequence", ("WindowCenter", "WindowWidth")),
)
#: `patient_tags` reads them; the last in the file is the last here.
_PATIENT_TAGS = {"PatientID": 0x00100020, "IssuerOfPatientID": 0x00100021, "PatientSex": 0x00100040}
# Decoders of lossy streams differ in the last bit, and a picture must not depend on which of them are installed.
_DECODERS = {
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.51": "pylibjpeg",  # JPEG extended, 12 bits
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # high-throughput JPEG 2000
}


def is_dicom(file: Path | str | BytesIO) -> bool:
    """Whether a file's content is DICOM, whatever its name; False for what cannot be read."""
    if isinstance(file, BytesIO):
        return file.read(132)[128:] == b"DICM"
    try:
        with open(file, "rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


@contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    """What pydicom raises of a file's header as our errors."""
    try:
        import pydicom  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependencyError(f"{path}: a DICOM file, and pydicom", "dicom") from None
    # It comments on every irregularity of a file; what matters becomes an error.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    try:
        yield
    except Exception as error:  # A damaged file makes pydicom raise almost anything.
        raise ImageError(f"{path}: a damaged DICOM file ({first_line(error)})") from None


def _read(path: Path | str, pixels: bool, content: bytes | None = None) -> Dataset:
    with _reading(path):
        from pydicom import dcmread

        return dcmread(path if content is None else BytesIO(content), stop_before_pixels=not pixels)


def read_grey(path: Path | str, max_pixels: int, content: bytes | None = None) -> Image.Image:
    """Decode a DICOM file at its own size to 8-bit grey by `RULE`.

    Args:
        path: the file.
        max_pixels: an image with more is refused.
        content: the file's bytes, where the caller has read them already.

    Raises:
        ImageError: damaged, without an image, too large, or of several frames.
        MissingDependencyError: pydicom, or the decoder of this file's compression, is not installed.
    """
    data = _read(path, True, content)
    try:
        if "Rows" not in data or not any(name in data for name in _PIXELS):
            raise ImageError(f"{path}: a DICOM file without an image (modality {data.get('Modality') or 'unknown'})")
        if data.Rows * data.Columns > max_pixels:
            raise ImageError(f"{path}: refused, {data.Columns} x {data.Rows} pixels look like a decompression bomb")
        frames = int(data.get("NumberOfFrames") or 1)
        if frames != 1:
            raise ImageError(f"{path}: {frames} frames; a chest X-ray has one: save the one that is meant by itself")
        stored = _decoded(path, data)
        if _is_grey(data):
            for item in _from_groups(data):
                data.update(item)
            return Image.fromarray(_grey(data, stored))
        return Image.fromarray(_colour(data, stored)).convert("L")
    except (ImageError, MissingDependencyError):
        raise
    except Exception as error:  # As above.
        # The decoders' own reasons stand in the lines after the first.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{path}: a DICOM file that cannot be decoded ({reason})") from None


def _decoded(path: Path | str, data: Dataset) -> NDArray[Any]:
    """Stored values `[rows, columns]`, or `[rows, columns, 3]`, in RGB."""
    from pydicom.pixels import get_decoder, pixel_array

    syntax, plugin = data.file_meta.TransferSyntaxUID, ""
    if syntax.is_encapsulated:
        decoder, plugin = get_decoder(syntax), _DECODERS.get(syntax, "")
        if not decoder.is_available or plugin not in ("", *decoder.available_plugins):
            raise MissingDependencyError(f"{path}: a decoder of {syntax.name}", "dicom")
    stored: NDArray[Any] = pixel_array(data, decoding_plugin=plugin)
    return stored


def _is_grey(data: Dataset) -> bool:
    return bool(data.get("SamplesPerPixel", 1) == 1 and data.PhotometricInterpretation != "PALETTE COLOR")


def _from_groups(data: Dataset) -> list[Dataset]:
    """The transformations of the only frame that a file has in functional groups alone."""
    found = []
    for group, table, numbers in _TRANSFORMATIONS:
        # Each group is that of the frame or, never both, that of all frames.
        for groups in (data.get("PerFrameFunctionalGroupsSequence"), data.get("SharedFunctionalGroupsSequence")):
            item = (groups[0].get(group) or [None])[0] if groups else None
            if item is not None and _has(item, table, numbers) and not _has(data, table, numbers):
                found.append(item)
                break
    return found


def _has(data: Dataset, table: str, numbers: tuple[str, str]) -> bool:
    return bool(data.get(table)) or all(data.get(number) is not None for number in numbers)


def needs_groups(path: Path | str) -> bool:
    """Whether functional groups, which `RULE_WITHOUT_GROUPS` passes over, make a DICOM file's picture another one.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = _read(path, pixels=False)
    with _reading(path):
        # X-ray IODs prescribe a rescale that changes nothing.
        return _is_grey(data) and any(
            (item.get("RescaleSlope"), item.get("RescaleIntercept")) != (1, 0) for item in _from_groups(data)
        )


def _looked_up(values: NDArray[Any], table: Dataset, little_endian: bool) -> tuple[NDArray[Any], float]:
    """Values through a DICOM LUT, and the largest value that it can give by its declared depth.

    Not by pydicom's `apply_voi_lut`: that indexes a table of 8-bit entries by 8-bit numbers, however long the table is.
    """
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    # 65536 does not fit into the field, and is written as 0.
    entries = entries or 65536
    found = table.LUTData
    if isinstance(found, bytes):
        one_byte = len(found) < 2 * entries
        found = np.frombuffer(found, np.uint8 if one_byte else np.dtype("<u2" if little_endian else ">u2"))
    lut = np.asarray(found).reshape(-1)[:entries]
    indices = np.clip(np.rint(values).astype(np.int64) - first, 0, len(lut) - 1)
    return lut[indices], 2.0**bits - 1


def _grey(data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_modality_lut, apply_windowing

    little_endian = data.file_meta.TransferSyntaxUID.is_little_endian
    bits, signed = int(data.get("BitsStored", 64)), bool(data.get("PixelRepresentation", 0))
    values: NDArray[Any]
    if data.get("ModalityLUTSequence"):
        values, _ = _looked_up(stored, data.ModalityLUTSequence[0], little_endian)
    else:
        values = apply_modality_lut(stored, data)
    if data.get("VOILUTSequence"):
        values, white = _looked_up(values, data.VOILUTSequence[0], little_endian)
        black = 0.0
    elif data.get("WindowCenter") is not None and data.get("WindowWidth") is not None:
        values = apply_windowing(values, data)
        # The ends of its output range, which has its own sign and offset.
        black, white = apply_windowing(np.array([-np.inf, np.inf]), data).tolist()
    elif bits <= 8 and "ModalityLUTSequence" not in data:
        stored_range = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        black, white = sorted(apply_modality_lut(stored_range, data).tolist())
    else:
        counted = values[~_padding(data, stored)]
        counted = counted if counted.size else values
        black, white = float(counted.min()), float(counted.max())
    if not np.isfinite([black, white]).all() or not np.isfinite(values).all():
        raise ValueError("values that are no numbers")
    scale = 255.0 / (white - black) if white != black else 0.0
    grey = np.clip(np.round((values.astype(np.float64) - black) * scale), 0, 255).astype(np.uint8)
    return 255 - grey if data.PhotometricInterpretation == "MONOCHROME1" else grey


def _padding(data: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the detector saw nothing and a reserved value stands."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = data.get("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return found


def _colour(data: Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 `[rows, columns, 3]`, RGB."""
    from pydicom.pixels import apply_color_lut

    white = 2.0 ** int(data.BitsStored) - 1
    if data.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, data)[..., :3]
        white = float(np.iinfo(stored.dtype).max)
    return np.clip(np.round(stored * (255.0 / white)), 0, 255).astype(np.uint8)


def dicom_facts(path: Path | str) -> dict[str, str | None]:
    """What a DICOM file's tags say of the picture; none of them names the patient.

    Returns:
        `modality`, `body_part`, `view_position`, `burned_in_annotation`, `presentation_intent` and
        `photometric_interpretation`, as they stand in the file; None where they do not. `view_position` falls back on
        the meaning of the view code.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = _read(path, pixels=False)
    facts: dict[str, str | None] = {key: str(data.get(tag) or "").strip() or None for key, tag in _TAGS.items()}
    if facts["view_position"] is None and data.get("ViewCodeSequence"):
        facts["view_position"] = str(data.ViewCodeSequence[0].get("CodeMeaning") or "").strip() or None
    return facts


@dataclass(frozen=True)
class PatientTags:
    """Whose picture a file is: to compare files by, and never to be shown or written.

    `patient` is PatientID and its issuer, without spaces around, empty where they are not in the file; `sex` is M, F or
    something else.
    """

    patient: tuple[str, str] = field(repr=False)
    sex: str = field(repr=False)


def patient_tags(path: Path | str) -> PatientTags:
    """What a DICOM file says of its patient; nothing behind that is read.

    Raises:
        ImageError, MissingDependencyError.
    """
    with _reading(path), open(path, "rb") as file:
        from pydicom.filereader import read_partial

        last = max(_PATIENT_TAGS.values())
        data = read_partial(file, lambda tag, vr, length: tag > last, specific_tags=list(_PATIENT_TAGS.values()))
        number, issuer, sex = (str(data.get(tag) or "").strip() for tag in _PATIENT_TAGS)
    return PatientTags((number, issuer), sex)


def warnings_about(facts: dict[str, str | None]) -> list[str]:
    """What in `dicom_facts` speaks against classifying the picture as a frontal chest X-ray, a line each."""
    found = []
    if (facts["burned_in_annotation"] or "").upper() == "YES":
        found.append("annotations are burnt into the picture (Burned In Annotation is YES); the model may go by them")
    view = (facts["view_position"] or "").upper()
    if view in _NOT_FRONTAL or view.rpartition(" ")[2] in ("LATERAL", "OBLIQUE"):
        found.append(f"not a frontal view (View Position is {facts['view_position']})")
    if facts["modality"] is not None and facts["modality"].upper() not in _RADIOGRAPHS:
        found.append(f"not a radiograph (Modality is {facts['modality']})")
    if (facts["presentation_intent"] or "").upper() == "FOR PROCESSING":
        found.append("raw detector values, not meant to be looked at (Presentation Intent Type is FOR PROCESSING)")
    return found


def warnings_of(paths: Iterable[Path]) -> dict[str, int]:
    """What `warnings_about` says of the DICOM files among many, and of how many it does; the most frequent first.

    Raises:
        MissingDependencyError: there are such files, and pydicom is not installed.
    """
    found: Counter[str] = Counter()
    for path in paths:
        if is_dicom(path):
            # One that is damaged is named where it is decoded.
            with suppress(ImageError):
                found.update(warnings_about(dicom_facts(path)))
    return dict(found.most_common())
