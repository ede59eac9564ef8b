"""Metadata of artifacts: inside each file, and in the manifest of their bundle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace

from cxr_edge.artifacts.contract import Contract
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization, TrainingData
from cxr_edge.artifacts.parity_result import RecordedParity
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.imaging.rule import ImagingRule
from cxr_edge.records import JsonObject, to_json

SCHEMA = 2
#: Of a manifest with a cascade, so that earlier versions refuse it rather than overlook the small model.
CASCADE_SCHEMA = 3
NOTICE = "Not a medical device: for research and engineering, not for diagnosis."


@dataclass(frozen=True)
class Training:
    """The run that an artifact descends from. `data_sha256` identifies its split, `model_sha256` its Keras model.

    `teacher_sha256` identifies the Keras model that it was distilled from; None if there is none.
    """

    data: TrainingData
    #: Images per class.
    images: dict[str, int]
    data_sha256: str
    model_sha256: str
    started: str
    teacher_sha256: str | None = None

    @property
    def phantoms(self) -> bool:
        """Whether it was trained on phantoms: then its figures say nothing about patients."""
        return self.data == TrainingData.PHANTOMS


@dataclass(frozen=True)
class ReferenceOutputs:
    """Probabilities `[M][K]` of the bundle's reference inputs at export: the artifact's on a runtime, and Keras's."""

    runtime: str
    probabilities: tuple[tuple[float, ...], ...]
    keras: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class _Header:
    schema: int = SCHEMA
    notice: str = NOTICE


@dataclass(frozen=True, kw_only=True)
class SharedMetadata:
    """The metadata that all artifacts of a bundle share; `cxr_edge` is the version that wrote them."""

    cxr_edge: str
    labels: tuple[str, ...]
    contract: Contract
    imaging: ImagingRule
    #: The divisor of the logits in every artifact.
    temperature: float
    training: Training
    #: SHA-256 of `reference.npz`; None for bundles from before reference inputs existed.
    reference_sha256: str | None
    #: The recipe by the keys of its file; only the workstation interprets recipes, never the device.
    recipe: JsonObject | None = None


@dataclass(frozen=True, kw_only=True)
class OwnMetadata:
    """The metadata specific to one artifact."""

    format: ArtifactFormat
    quantization: Quantization
    #: How it was quantized, from `QuantizedRun.described`; None for a float artifact.
    calibration: JsonObject | None
    #: Versions of the packages that made it.
    packages: dict[str, str]
    #: An `evaluation.operating_record.OperatingRecord`, or its migration; None without a class that must not be missed.
    operating_point: JsonObject | None
    #: None if it was never verified.
    parity: RecordedParity | None
    reference_outputs: ReferenceOutputs | None


@dataclass(frozen=True, kw_only=True)
class ArtifactMetadata(OwnMetadata, SharedMetadata, _Header):
    """The metadata inside an artifact's file."""

    @property
    def shared(self) -> SharedMetadata:
        """The part shared with the other artifacts of its bundle."""
        return SharedMetadata(**{field.name: getattr(self, field.name) for field in fields(SharedMetadata)})

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of its parity gate at export; None if it was never verified."""
        return None if self.parity is None else self.parity.result.verdict


def joined(shared: SharedMetadata, own: OwnMetadata) -> ArtifactMetadata:
    """The metadata of one artifact of a bundle."""
    parts: JsonObject = {}
    for part, kind in ((shared, SharedMetadata), (own, OwnMetadata)):
        parts.update({field.name: getattr(part, field.name) for field in fields(kind)})
    return ArtifactMetadata(**parts)


@dataclass(frozen=True, kw_only=True)
class _File:
    file: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ManifestEntry(OwnMetadata, _File):
    """An artifact of a bundle: its file's name, SHA-256 and size, and its own metadata.

    `shared` is what the small model of a cascade has in place of the bundle's; None for any other artifact.
    """

    shared: SharedMetadata | None = None


@dataclass(frozen=True, kw_only=True)
class CascadeEntry:
    """A cascade: the `small` model answers if its top probability is at least `threshold`, otherwise the `full` one.

    `small` and `full` are files of the bundle. `sha256` covers both files and all other fields.
    """

    small: str
    full: str
    threshold: float
    #: An `evaluation.cascade_fit.CascadeFit`.
    fitted: JsonObject
    #: The cascade's parity with the full Keras model.
    parity: RecordedParity
    sha256: str = ""

    def sealed(self, small_sha256: str, full_sha256: str) -> CascadeEntry:
        """The entry with the digest for two files."""
        content = [small_sha256, full_sha256, to_json(replace(self, sha256=""))]
        return replace(self, sha256=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Manifest(_Header):
    """The content of a bundle's `manifest.json`."""

    shared: SharedMetadata
    artifacts: tuple[ManifestEntry, ...]
    #: SHA-256 of the model card; None if the bundle has none.
    card_sha256: str | None = None
    #: How its two artifacts answer as one; None for a bundle whose artifacts answer each by itself.
    cascade: CascadeEntry | None = None

    def metadata_of(self, entry: ManifestEntry) -> ArtifactMetadata:
        """The metadata of one of its artifacts."""
        return joined(entry.shared or self.shared, entry)
