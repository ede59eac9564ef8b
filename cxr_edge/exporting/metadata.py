"""Put an artifact's metadata inside its file."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import onnx

from cxr_edge.artifacts.bundle import METADATA_ENTRY, METADATA_KEY


def with_metadata(kind: str, content: bytes, metadata: dict[str, Any]) -> bytes:
    """The content of a TFLite or ONNX file without metadata, with it.

    TFLite gets a zip of `metadata.json` and `labels.txt` appended, as the ecosystem does it, ONNX a property.
    """
    text = json.dumps(metadata, indent=1, ensure_ascii=False)
    if kind == "onnx":
        # Concatenated protobuf messages merge: the property is added without parsing the model.
        properties = onnx.ModelProto()
        properties.metadata_props.add(key=METADATA_KEY, value=text)
        return content + bytes(properties.SerializeToString())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, entry in ((METADATA_ENTRY, text), ("labels.txt", "\n".join(metadata["labels"]) + "\n")):
            # A fixed date: equal exports are equal bytes.
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), entry)
    return content + archive.getvalue()
