"""Check from the header of a compressed DICOM frame what size it would unpack to, before a decoder trusts it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

#: Most fragments of a frame, and scans of a JPEG; encoders write one to a dozen.
_MOST_FRAGMENTS, _MOST_SCANS = 1000, 100
#: JPEG's markers of a frame's header; 0xF7 is JPEG-LS's. The others from 0xC0 to 0xCF are tables.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def refuse_bombs(data: Dataset) -> None:
    """Refuse a compressed frame that would unpack to more than the file's own rows and columns.

    Raises:
        ValueError: it would do so, or has so many pieces that reading them would take minutes.
    """
    from pydicom.encaps import generate_fragments

    fragments = list(islice(generate_fragments(data.PixelData), _MOST_FRAGMENTS + 2))
    if len(fragments) > _MOST_FRAGMENTS + 1:
        raise ValueError(f"a frame in more than {_MOST_FRAGMENTS} fragments")
    # The first fragment is a table of offsets, often empty.
    stream = b"".join(fragments[1:])
    declared = (int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel", 1)))
    if data.file_meta.TransferSyntaxUID.name == "RLE Lossless":
        _refuse_runs(stream, declared[0] * declared[1])
        return
    size = _jpeg_2000_size(stream) if b"\xff\x4f\xff\x51" in stream[:256] else _jpeg_size(stream)
    if size is not None and size != declared:
        raise ValueError(f"a frame of {size[1]} x {size[0]} pixels in {size[2]} planes, where the tags say otherwise")
    if stream.count(b"\xff\xda") > _MOST_SCANS and size is not None and b"\xff\x4f\xff\x51" not in stream[:256]:
        raise ValueError(f"a JPEG of more than {_MOST_SCANS} scans")


def _jpeg_2000_size(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components by the SIZ marker (ISO 15444-1, A.5.1)."""
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    right, bottom, left, top = (int.from_bytes(stream[at + 4 * i : at + 4 * i + 4], "big") for i in range(4))
    return bottom - top, right - left, int.from_bytes(stream[at + 32 : at + 34], "big")


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components by the first frame header (ISO 10918-1, B.2.2); None if there is none."""
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(stream[at + 5 + 2 * i : at + 7 + 2 * i], "big") for i in range(2))
            return rows, columns, stream[at + 9]
        # Fill bytes have no payload.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def _refuse_runs(stream: bytes, pixels: int) -> None:
    """PackBits turns two bytes into up to 128 (PS3.5, G.3): a segment must end with the last pixel, or its padding."""
    segments = int.from_bytes(stream[:4], "little")
    offsets = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(1, min(segments, 15) + 1)]
    for start, end in zip(offsets, [*offsets[1:], len(stream)], strict=True):
        unpacked, at = 0, start
        while at < end:
            count = stream[at]
            unpacked += count + 1 if count < 128 else 257 - count if count > 128 else 0
            at += count + 2 if count < 128 else 2 if count > 128 else 1
            if unpacked > pixels + 128:
                raise ValueError("a frame of more pixels than the tags say")
