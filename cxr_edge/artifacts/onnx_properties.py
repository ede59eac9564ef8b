"""`metadata_props` of an ONNX file without the onnx package, which a device does not have."""

from __future__ import annotations

import mmap
from pathlib import Path

from cxr_edge.artifacts.protobuf import Message
from cxr_edge.errors import ArtifactError

_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2


def read_properties(path: Path, limit: int) -> dict[str, str]:
    """The key-value properties of an ONNX file.

    Raises:
        ArtifactError: it is not an ONNX file, or its properties take more than `limit` bytes.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as data,
        ):
            return _properties(Message(data, 0, len(data)), limit)
    except ValueError as error:
        raise ArtifactError(f"{path}: not an ONNX file, or a damaged one ({error})") from None


def _properties(model: Message, limit: int) -> dict[str, str]:
    properties = {}
    for field in model.fields():
        if field.number == _METADATA_PROPS:
            limit -= field.end - field.start
            if limit < 0:
                raise ValueError("too much metadata")
            entry = model.inside(field)
            texts = {part.number: entry.text(part) for part in entry.fields() if part.number in (_KEY, _VALUE)}
            properties[texts.get(_KEY, "")] = texts.get(_VALUE, "")
    return properties
