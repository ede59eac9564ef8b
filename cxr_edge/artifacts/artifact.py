"""One artifact, TFLite or ONNX, read from the metadata inside it."""

from __future__ import annotations

import io
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata, ReferenceOutputs
from cxr_edge.artifacts.migration import current_metadata
from cxr_edge.artifacts.parity_result import RecordedParity
from cxr_edge.artifacts.validation import require_valid_metadata
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.artifacts.zip_entry import UNZIPPING_ERRORS, open_bounded, require_small_directory
from cxr_edge.choices import Resize
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.files import sha256_of
from cxr_edge.records import from_json, parse_json

#: Name of the metadata inside an artifact: an entry of the zip appended to a TFLite file, a key of ONNX' properties.
METADATA_ENTRY = "metadata.json"
METADATA_KEY = "cxr_edge"
#: Real metadata takes a few hundred kilobytes. A file that unpacks to more than this is built to exhaust the memory.
MAX_METADATA_BYTES = 16 << 20
#: The zip of real metadata is smaller.
_USUAL_ZIP_BYTES = 1 << 20
#: The largest file accepted as an artifact: six times a float32 Xception.
MAX_ARTIFACT_BYTES = 512 << 20


@dataclass(frozen=True)
class Artifact:
    """One file, and the metadata inside it."""

    path: Path
    sha256: str
    bytes: int
    metadata: ArtifactMetadata

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def members(self) -> tuple[Artifact, ...]:
        """The model files: the artifact itself, or those of a cascade in the order in which they run."""
        return (self,)

    @property
    def is_here(self) -> bool:
        """Whether all of its files exist."""
        return all(member.path.is_file() for member in self.members)

    @property
    def format(self) -> ArtifactFormat:
        return self.metadata.format

    @property
    def quantization(self) -> Quantization:
        return self.metadata.quantization

    @property
    def parity(self) -> RecordedParity | None:
        """Its parity with the Keras model at export; None if it was never verified."""
        return self.metadata.parity

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of its parity gate at export; None if it was never verified."""
        return self.metadata.verdict

    @property
    def reference(self) -> ReferenceOutputs | None:
        """Its outputs for the bundle's reference inputs at export."""
        return self.metadata.reference_outputs

    @property
    def labels(self) -> tuple[str, ...]:
        return self.metadata.labels

    @property
    def image_size(self) -> int:
        return self.metadata.contract.image_size

    @property
    def resize(self) -> Resize:
        """How images must be resized for it."""
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
    """A single artifact, from the metadata of any schema inside it.

    Raises:
        ArtifactError: the file is missing, or lacks this project's metadata.
    """
    metadata = read_metadata(path)
    return Artifact(path, sha256_of(path), path.stat().st_size, metadata)


def read_metadata(path: Path) -> ArtifactMetadata:
    """The metadata inside a .tflite or .onnx file. Raises ArtifactError as `read_artifact` does."""
    kind = require_artifact_file(path)
    read = _metadata_of_tflite if kind == ArtifactFormat.TFLITE else _metadata_of_onnx
    try:
        metadata = from_json(ArtifactMetadata, current_metadata(parse_json(read(path))))
        require_valid_metadata(metadata)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, *UNZIPPING_ERRORS) as error:
        reason = first_line(error)
        raise ArtifactError(f"{path}: holds no readable cxr-edge metadata ({reason}); export it again") from None
    if metadata.format != kind:
        raise ArtifactError(f"{path}: its metadata is that of a .{metadata.format} file; export it again")
    return metadata


def require_artifact_file(path: Path) -> ArtifactFormat:
    """The format of a possible artifact. Raises ArtifactError if it is too large or not a regular file."""
    kind = format_of(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such artifact")
    if path.stat().st_size > MAX_ARTIFACT_BYTES:
        raise ArtifactError(f"{path}: {path.stat().st_size >> 20} MiB, too large for an artifact; export it again")
    return kind


def _metadata_of_tflite(path: Path) -> bytes:
    with suppress(KeyError, ValueError, *UNZIPPING_ERRORS):
        return _metadata_in_end(path, _USUAL_ZIP_BYTES)
    return _metadata_in_end(path, MAX_METADATA_BYTES)


def _metadata_in_end(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        end = io.BytesIO(file.read())
    require_small_directory(end)
    with zipfile.ZipFile(end) as archive, open_bounded(archive, METADATA_ENTRY, MAX_METADATA_BYTES) as entry:
        return entry.read(MAX_METADATA_BYTES)


def _metadata_of_onnx(path: Path) -> str:
    # The properties are at the top level of the file, so no ONNX package is needed to find them.
    from cxr_edge.artifacts.onnx_properties import read_properties

    return read_properties(path, MAX_METADATA_BYTES)[METADATA_KEY]
