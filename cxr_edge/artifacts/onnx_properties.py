"""`metadata_props` of an ONNX file without the onnx package, which a device does not have.

An ONNX file is one protobuf message, `ModelProto`; its fields are read in turn and the large ones skipped. Wire format:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from cxr_edge.errors import ArtifactError

_METADATA_PROPS = 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def _varint(file: BinaryIO) -> int | None:
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
        shift += 7
        if shift > 63:
            break
    return None


def _fields(file: BinaryIO, end: int) -> list[tuple[int, int, int]]:
    """Number, offset and length of each length-delimited field up to `end`."""
    fields = []
    while file.tell() < end:
        tag = _varint(file)
        if tag is None:
            raise ValueError("truncated")
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            if _varint(file) is None:
                raise ValueError("truncated")
        elif kind in (_FIXED64, _FIXED32):
            file.seek(8 if kind == _FIXED64 else 4, 1)
        elif kind == _LENGTH:
            length = _varint(file)
            if length is None or file.tell() + length > end:
                raise ValueError("truncated")
            fields.append((number, file.tell(), length))
            file.seek(length, 1)
        else:
            raise ValueError(f"field type {kind}")
    return fields


def _text(file: BinaryIO, offset: int, length: int) -> str:
    file.seek(offset)
    return file.read(length).decode("utf-8")


def read_properties(path: Path) -> dict[str, str]:
    """The key-value properties of an ONNX file. Raises ArtifactError when it is not one."""
    try:
        with path.open("rb") as file:
            properties = {}
            for number, offset, length in _fields(file, path.stat().st_size):
                if number == _METADATA_PROPS:
                    file.seek(offset)
                    entry = {field: (at, size) for field, at, size in _fields(file, offset + length)}
                    properties[_text(file, *entry[1])] = _text(file, *entry[2])
            return properties
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{path}: not an ONNX file, or a damaged one ({error})") from None
