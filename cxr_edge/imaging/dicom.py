"""DICOM headers: the tags that matter to a classifier, and the patient."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_edge.errors import ImageError, MissingDependencyError, first_line
from cxr_edge.imaging.dicom_files import is_dicom
from cxr_edge.imaging.reading import open_regular

if TYPE_CHECKING:
    from pydicom import Dataset

#: The tags reported by `dicom_facts`: its keys, and pydicom's keywords.
_TAGS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view_position": "ViewPosition",
    "burned_in_annotation": "BurnedInAnnotation",
    "presentation_intent": "PresentationIntentType",
    "photometric_interpretation": "PhotometricInterpretation",
}
#: Tags that images may be grouped by: pydicom's keywords. None of them identifies the patient.
GROUP_TAGS = (
    "PatientSex", "PatientAge", "ViewPosition", "Modality", "Manufacturer", "ManufacturerModelName", "InstitutionName",
)  # fmt: skip
#: Lateral and oblique views, in the standard's terms and in common substitutes.
_NOT_FRONTAL = {"LL", "RL", "RLO", "LLO", "LAT", "LATERAL", "LLAT", "RLAT", "OBL", "OBLIQUE"}
#: Computed and digital radiography, radiofluoroscopy, digitised film; secondary capture and other may be anything.
_RADIOGRAPHS = {"CR", "DX", "RG", "RF", "SC", "OT"}
#: Parts of names for the chest, in the standard's terms and in common substitutes.
_CHEST = ("CHEST", "THORA", "TORAX", "LUNG", "RIB", "HEART", "STERN")
#: The tags read by `patient_tags`; the last one here comes last in the file too.
_PATIENT_TAGS = {"PatientID": 0x00100020, "IssuerOfPatientID": 0x00100021, "PatientSex": 0x00100040}
#: The last tag before pixels of any kind.
_LAST_TAG = 0x7FE00007
#: Most bytes read before the pixels: two overlays of the largest detector, or half a million of the smallest elements,
#: which take pydicom a few seconds. Nearly all files need no more than the second figure.
MAX_HEADER, _USUAL_HEADER = 5 * 2**20, 64 * 2**10
_DEFLATED, _EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
#: Value representations whose length has four bytes.
_LONG_VR = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Translate pydicom's exceptions about a file's header into our errors."""
    try:
        import pydicom  # noqa: F401
    except ModuleNotFoundError:
        raise MissingDependencyError(f"{path}: a DICOM file, and pydicom", "dicom") from None
    # It warns about every irregularity of a file; those that matter become errors.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # pydicom may raise almost anything for a damaged file.
        raise ImageError(f"{path}: a damaged DICOM file ({first_line(error)})") from None


def read_header(
    path: Path | str, content: bytes | None = None, last: int = _LAST_TAG, only: Sequence[int] = ()
) -> Dataset:
    """The elements of a DICOM file up to a tag, at most up to the pixels.

    Args:
        path: the file.
        content: its bytes, if the caller has already read them.
        last: the last tag to read.
        only: the tags to read; empty for all.

    Raises:
        ImageError: the file is damaged, or has more than `MAX_HEADER` bytes before the pixels.
        MissingDependencyError: pydicom is not installed.
    """
    with reading(path):
        from pydicom.filereader import read_partial

        for limit in (_USUAL_HEADER, MAX_HEADER):
            head, whole = _head(path, content, limit)
            seen: list[int] = []

            def is_past(tag: int, vr: str | None, length: int, seen: list[int] = seen) -> bool:
                seen[:] = [tag]
                return tag > last

            try:
                data = read_partial(BytesIO(head), is_past, specific_tags=list(only) or None)
            except Exception:
                if whole or limit == MAX_HEADER:
                    raise
                continue
            if whole or (seen and seen[0] > last):
                return data
    raise ImageError(f"{path}: refused, more than {MAX_HEADER >> 20} MiB of a DICOM file before its pixels")


def _head(path: Path | str, content: bytes | None, limit: int) -> tuple[bytes, bool]:
    """The first bytes of a file, inflated if it is deflated, and whether that is the whole file."""
    if content is None:
        with open_regular(path) as file:
            content = file.read(limit + 1)
    head = inflated(content[: limit + 1], limit + 1)
    return head[:limit], len(content) <= limit and len(head) <= limit


def inflated(content: bytes, limit: int) -> bytes:
    """The bytes of a deflated DICOM file, inflated, at most `limit`; other files unchanged.

    pydicom inflates without limit: 3 MB can become 3 GB. So it must never see the UID of deflation, wherever a header
    that is out of order, or a second one in the inflated bytes, may hide it.

    Raises:
        ValueError: that UID is left somewhere.
    """
    start, deflated = 132, False
    while content[start : start + 2] == b"\x02\0":
        long = content[start + 4 : start + 6] in _LONG_VR
        length = int.from_bytes(content[start + 8 : start + 12] if long else content[start + 6 : start + 8], "little")
        value = start + (12 if long else 8)
        if content[start + 2 : start + 4] == b"\x10\0":
            deflated = content[value : value + length].rstrip(b"\0 ") == _DEFLATED
        start = value + length
    if deflated:
        # The shorter name fits in its place, padded with zeros.
        meta = content[:start].replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0"))
        content = meta + zlib.decompressobj(-zlib.MAX_WBITS).decompress(content[start:], max(1, limit - start))
    if _DEFLATED in content:
        raise ValueError("deflated, by a header that is out of order")
    return content


def dicom_facts(path: Path | str, content: bytes | None = None) -> dict[str, str | None]:
    """What a DICOM file's tags say about the picture; none of them identifies the patient.

    Args:
        path: the file.
        content: its bytes, if the caller has already read them.

    Returns:
        `modality`, `body_part`, `view_position`, `burned_in_annotation`, `presentation_intent` and
        `photometric_interpretation`, as in the file; None if absent. `view_position` falls back on the meaning of the
        view code.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = read_header(path, content)
    with reading(path):
        facts: dict[str, str | None] = {key: str(data.get(tag) or "").strip() or None for key, tag in _TAGS.items()}
        if facts["view_position"] is None and data.get("ViewCodeSequence"):
            facts["view_position"] = str(data.ViewCodeSequence[0].get("CodeMeaning") or "").strip() or None
    return facts


def group_tag(path: Path | str, tag: str) -> str:
    """The value of one of `GROUP_TAGS` in a DICOM file; empty if absent.

    Raises:
        ImageError, MissingDependencyError.
    """
    if tag == "ViewPosition":
        return dicom_facts(path)["view_position"] or ""
    with reading(path):
        from pydicom.datadict import tag_for_keyword

        number = tag_for_keyword(tag)
        data = read_header(path, last=number, only=[number])
        return str(data.get(tag) or "").strip()


def stored_as(path: Path | str, content: bytes) -> tuple[str, int, int]:
    """Photometric interpretation (empty if absent), columns and rows of a DICOM file that was decoded.

    Raises:
        ImageError, MissingDependencyError.
    """
    data = read_header(path, content)
    with reading(path):
        return str(data.get("PhotometricInterpretation") or "").strip(), int(data.Columns), int(data.Rows)


@dataclass(frozen=True)
class PatientTags:
    """The patient of a file: only for comparing files, never to be shown or written.

    `patient` is PatientID and its issuer, stripped, empty if absent; `sex` is M, F or something else.
    """

    patient: tuple[str, str] = field(repr=False)
    sex: str = field(repr=False)


def patient_tags(path: Path | str) -> PatientTags:
    """What a DICOM file says about its patient; nothing after those tags is read.

    Raises:
        ImageError, MissingDependencyError.
    """
    tags = tuple(_PATIENT_TAGS.values())
    data = read_header(path, last=max(tags), only=tags)
    with reading(path):
        # By keyword, `get` returns the value; by number, the element.
        number, issuer, sex = (str(data.get(name) or "").strip() for name in _PATIENT_TAGS)
    return PatientTags((number, issuer), sex)


def other_modality(facts: dict[str, str | None]) -> str | None:
    """Why, according to `dicom_facts`, the picture is not a radiograph at all; None if it may be one."""
    modality = facts["modality"]
    if modality is None or modality.upper() in _RADIOGRAPHS:
        return None
    return f"not a radiograph (Modality is {modality})"


def warnings_about(facts: dict[str, str | None]) -> list[str]:
    """What in `dicom_facts` argues against classifying the picture as a frontal chest X-ray, one line each."""
    reasons = []
    if (facts["burned_in_annotation"] or "").upper() == "YES":
        reasons.append("annotations are burnt into the picture (Burned In Annotation is YES); the model may go by them")
    view = (facts["view_position"] or "").upper()
    if view in _NOT_FRONTAL or view.rpartition(" ")[2] in ("LATERAL", "OBLIQUE"):
        reasons.append(f"not a frontal view (View Position is {facts['view_position']})")
    if other := other_modality(facts):
        reasons.append(other)
    body_part = facts["body_part"]
    if body_part is not None and not any(name in body_part.upper() for name in _CHEST):
        reasons.append(f"not of the chest (Body Part Examined is {body_part})")
    if (facts["presentation_intent"] or "").upper() == "FOR PROCESSING":
        reasons.append("raw detector values, not meant to be looked at (Presentation Intent Type is FOR PROCESSING)")
    return reasons


def warnings_of(paths: Iterable[Path]) -> dict[str, int]:
    """The lines of `warnings_about` for the DICOM files among many, with the number of files; the most frequent first.

    Raises:
        MissingDependencyError: there are such files, and pydicom is not installed.
    """
    counts: Counter[str] = Counter()
    for path in paths:
        if is_dicom(path):
            # Damaged files are reported on decoding.
            with suppress(ImageError):
                counts.update(warnings_about(dicom_facts(path)))
    return dict(counts.most_common())
