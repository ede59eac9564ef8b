"""Artifacts for tests that need no model: metadata as commit a3fe295 wrote it, and files that hold nothing else."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.artifact import METADATA_ENTRY, METADATA_KEY, Artifact, format_of
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.artifacts.migration import current_metadata
from cxr_edge.records import from_json

OLD = Path(__file__).parent / "fixtures" / "a3fe295"


def old_record(name: str) -> Any:
    """A record that commit a3fe295 wrote."""
    return json.loads((OLD / name).read_text(encoding="utf-8"))


def some_metadata(**changes: Any) -> ArtifactMetadata:
    """The metadata of an int8 artifact, with some fields changed."""
    return replace(from_json(ArtifactMetadata, current_metadata(old_record("metadata-int8.tflite.json"))), **changes)


def some_artifact(path: Path, **changes: Any) -> Artifact:
    """An int8 artifact that is not there."""
    metadata = some_metadata(format=format_of(path), **changes)
    return Artifact(path, "0" * 64, 1, metadata)


def write_stub(path: Path, metadata: dict[str, Any]) -> Path:
    """A file with metadata and no model, TFLite or ONNX by its suffix."""
    text = json.dumps(metadata)
    if format_of(path) == ArtifactFormat.TFLITE:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(METADATA_ENTRY, text)
        return path

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    path.write_bytes(field(14, field(1, METADATA_KEY.encode()) + field(2, text.encode())))
    return path
