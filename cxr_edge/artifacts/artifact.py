"""One artifact, TFLite or ONNX, read from the metadata inside it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata, ReferenceOutputs
from cxr_edge.artifacts.migration import current_metadata
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.choices import Resize
from cxr_edge.errors import ArtifactError
from cxr_edge.files import sha256_of
from cxr_edge.records import JsonObject, from_json

#: Name of the metadata inside an artifact: an entry of the zip appended to a TFLite file, a key of ONNX' properties.
METADATA_ENTRY = "metadata.json"
METADATA_KEY = "cxr_edge"
#: Real metadata take some hundred kilobytes. A file that unpacks to more than this is built to exhaust the memory.
MAX_METADATA_BYTES = 16 << 20


@dataclass(frozen=True)
class Artifact:
    """One file, and what travels inside it."""

    path: Path
    sha256: str
    bytes: int
    metadata: ArtifactMetadata

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def format(self) -> ArtifactFormat:
        return self.metadata.format

    @property
    def quantization(self) -> Quantization:
        return self.metadata.quantization

    @property
    def parity(self) -> JsonObject | None:
        """Its parity with the Keras model at export, from `statistics.parity.parity`; None where it has none."""
        return self.metadata.parity

    @property
    def verdict(self) -> Verdict | None:
        """What its parity gate said at export; None where it was never verified."""
        return self.metadata.verdict

    @property
    def reference(self) -> ReferenceOutputs | None:
        """What it computed for the bundle's reference inputs at export."""
        return self.metadata.reference_outputs

    @property
    def labels(self) -> tuple[str, ...]:
        return self.metadata.labels

    @property
    def image_size(self) -> int:
        return self.metadata.contract.image_size

    @property
    def resize(self) -> Resize:
        """How it wants images brought to its size."""
        return self.metadata.imaging.resize_here

    @property
    def has_heatmap(self) -> bool:
        return self.metadata.contract.heatmap is not None


def format_of(path: Path) -> ArtifactFormat:
    """The format of a file, by its suffix. Raises ArtifactError for any other."""
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in set(ArtifactFormat):
        raise ArtifactError(f"{path}: not an artifact; its name must end in .tflite or .onnx")
    return ArtifactFormat(suffix)


def read_artifact(path: Path) -> Artifact:
    """An artifact by itself, from the metadata inside it, of whatever schema.

    Raises:
        ArtifactError: missing, or without this project's metadata.
    """
    metadata = read_metadata(path)
    return Artifact(path, sha256_of(path), path.stat().st_size, metadata)


def read_metadata(path: Path) -> ArtifactMetadata:
    """The metadata inside a .tflite or .onnx file. Raises ArtifactError as `read_artifact` does."""
    kind = format_of(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such artifact")
    read = _metadata_of_tflite if kind == ArtifactFormat.TFLITE else _metadata_of_onnx
    try:
        metadata = from_json(ArtifactMetadata, current_metadata(read(path)))
        known = metadata.contract.is_known(len(metadata.labels))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, OSError) as error:
        raise ArtifactError(f"{path}: holds no readable cxr-edge metadata ({error}); export it again") from None
    if not known:
        raise ArtifactError(f"{path}: its contract is not the one this version of cxr-edge knows")
    return metadata


def _metadata_of_tflite(path: Path) -> JsonObject:
    with zipfile.ZipFile(path) as archive:
        unpacked = archive.getinfo(METADATA_ENTRY).file_size
        if unpacked > MAX_METADATA_BYTES:
            raise ValueError(f"{METADATA_ENTRY} unpacks to {unpacked} bytes")
        metadata: JsonObject = json.loads(archive.read(METADATA_ENTRY))
    return metadata


def _metadata_of_onnx(path: Path) -> JsonObject:
    # The properties lie at the file's top level: no ONNX package is needed to find them.
    from cxr_edge.artifacts.onnx_properties import read_properties

    metadata: JsonObject = json.loads(read_properties(path)[METADATA_KEY])
    return metadata
