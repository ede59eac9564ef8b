"""Check from the header of a compressed DICOM frame what size it would unpack to, before a decoder trusts it."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

#: Most fragments of a frame, and scans of a JPEG; encoders write one to a dozen.
_MOST_FRAGMENTS, _MOST_SCANS = 1000, 100
#: What a JP2 file, and a codestream in it or without it, starts with.
_JP2_SIGNATURE, _SOC_SIZ = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
#: JPEG's markers of a frame's header; 0xF7 is JPEG-LS's. The others from 0xC0 to 0xCF are tables.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
#: The segments that may precede it: tables, application data, comments. All others are read by decoders in different
#: ways, which could hide another header.
_BEFORE_HEADER = {0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xF8, 0xFE}


def refuse_bombs(data: Dataset) -> None:
    """Refuse a compressed frame that would unpack to more than the file's own rows and columns.

    Raises:
        ValueError: it would do so, its size cannot be read, or it has so many pieces that reading them would take
            minutes.
    """
    from pydicom.encaps import generate_fragments

    fragments = list(islice(generate_fragments(data.PixelData), _MOST_FRAGMENTS + 2))
    if len(fragments) > _MOST_FRAGMENTS + 1:
        raise ValueError(f"a frame in more than {_MOST_FRAGMENTS} fragments")
    # The first fragment is a table of offsets, often empty.
    stream = b"".join(fragments[1:])
    declared = (int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel", 1)))
    if data.file_meta.TransferSyntaxUID.name == "RLE Lossless":
        _refuse_runs(stream, declared[0] * declared[1], declared[2] * int(data.BitsAllocated) // 8)
        return
    codestream = _codestream(stream)
    size = _jpeg_size(stream) if codestream is None else _jpeg_2000_size(stream, codestream)
    if size is None:
        raise ValueError("a frame whose size cannot be read")
    if size != declared:
        raise ValueError(f"a frame of {size[1]} x {size[0]} pixels in {size[2]} planes, where the tags say otherwise")
    if codestream is None and stream.count(b"\xff\xda") > _MOST_SCANS:
        raise ValueError(f"a JPEG of more than {_MOST_SCANS} scans")


def _codestream(stream: bytes) -> int | None:
    """Where a JPEG 2000 codestream begins, bare or in the boxes of a JP2 file (ISO 15444-1, I.4); None for a JPEG."""
    if not stream.startswith(_JP2_SIGNATURE):
        return 0 if stream.startswith(_SOC_SIZ) else None
    at = 0
    while at + 8 <= len(stream):
        length = int.from_bytes(stream[at : at + 4], "big")
        if stream[at + 4 : at + 8] == b"jp2c":
            at += 16 if length == 1 else 8
            break
        # 0 is a box up to the end, 1 a length of 64 bits: neither occurs before the codestream of an honest file.
        if length < 8:
            break
        at += length
    if not stream.startswith(_SOC_SIZ, at):
        raise ValueError("a JP2 file without a codestream")
    return at


def _jpeg_2000_size(stream: bytes, codestream: int) -> tuple[int, int, int]:
    """Rows, columns and components by the SIZ marker (ISO 15444-1, A.5.1)."""
    at = codestream + 8
    right, bottom, left, top = (int.from_bytes(stream[at + 4 * i : at + 4 * i + 4], "big") for i in range(4))
    return bottom - top, right - left, int.from_bytes(stream[at + 32 : at + 34], "big")


def _jpeg_size(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components by the first frame header (ISO 10918-1, B.2.2); None if it is not found."""
    if not stream.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in _FRAME_HEADERS:
            rows, columns = (int.from_bytes(stream[at + 5 + 2 * i : at + 7 + 2 * i], "big") for i in range(2))
            return rows, columns, stream[at + 9]
        # Fill bytes have no payload.
        if marker == 0xFF:
            at += 1
        elif marker in _BEFORE_HEADER:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        else:
            break
    return None


def _refuse_runs(stream: bytes, pixels: int, planes: int) -> None:
    """PackBits turns two bytes into up to 128 (PS3.5, G.3): a segment must end with the last pixel, or its padding."""
    segments = int.from_bytes(stream[:4], "little")
    if segments != planes or not 1 <= segments <= 15:
        raise ValueError(f"{segments} RLE segments, where the tags say {planes}")
    offsets = [int.from_bytes(stream[4 * i : 4 * i + 4], "little") for i in range(1, segments + 1)]
    # So that each byte is read once, and the bytes are in proportion to the pixels: two bytes are at least one pixel.
    bounds = [64, *offsets[1:], len(stream)]
    if offsets[0] != 64 or any(not 0 < end - start <= 2 * pixels + 128 for start, end in pairwise(bounds)):
        raise ValueError("RLE segments that overlap, or are larger than their pixels")
    for start, end in pairwise(bounds):
        unpacked, at = 0, start
        while at < end:
            count = stream[at]
            unpacked += count + 1 if count < 128 else 257 - count if count > 128 else 0
            at += count + 2 if count < 128 else 2 if count > 128 else 1
            if unpacked > pixels + 128:
                raise ValueError("a frame of more pixels than the tags say")
