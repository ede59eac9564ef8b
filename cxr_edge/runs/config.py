"""`run.json`: the options that a run was started with, and observations on its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cxr_edge import records
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.intervals import Interval
from cxr_edge.records import FIGURE
from cxr_edge.runs.network import XCEPTION, Network
from cxr_edge.train_options import TrainOptions

SCHEMA = 3
#: Largest ratio of the multiply-accumulates of two teachers of one kind: students that meet the same budget differ by a
#: few percent, the full network at the next input size by far more.
_ALIKE = 1.1


@dataclass(frozen=True)
class SkippedImage:
    """An image that was left out, and why; the reason names the image."""

    path: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A network within the budget: the blocks that it omits, and how far its answers are from the teacher's.

    The divergence is the Kullback-Leibler divergence in nats, averaged over validation images, before any training. The
    input size and the latency, as a share of the teacher's, are recorded only for a latency budget.
    """

    without: tuple[int, ...]
    macs: int
    divergence: float
    image_size: int | None = None
    latency: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """The int8 latency by which a student's network was selected, measured in turn with the teacher's, one image at a
    time, before distillation.
    """

    #: Required and measured latency, as shares of the teacher's.
    budget: float
    share: Interval = field(metadata=FIGURE)
    teacher_p50_ms: float
    #: Variation between rounds, as in `bench`.
    spread: float
    runtime: str
    threads: int
    cpu: str


@dataclass(frozen=True)
class Student:
    """How a student was derived from its teacher, and the measurements by which its network was selected."""

    #: The teacher's run, and the SHA-256 of its Keras model.
    teacher: str
    teacher_sha256: str
    teacher_macs: int
    #: Multiply-accumulates of the student's network.
    macs: int
    #: The teacher's divergence from itself when one of its middle blocks is skipped, by the block's number.
    block_sensitivity: dict[str, float]
    candidates: tuple[Candidate, ...]
    #: Folders of images without labels, their number, and the SHA-256 that identifies them.
    unlabelled: tuple[str, ...] = ()
    unlabelled_images: int = 0
    unlabelled_sha256: str | None = None
    #: None for a budget of multiply-accumulates.
    latency: MeasuredLatency | None = None
    #: That budget, as a share of the teacher's; None for a budget of latency. Earlier versions did not record it.
    macs_budget: float | None = None
    #: The input size that was asked for; None if the teacher's was kept, or the size was searched.
    stated_image_size: int | None = None

    @property
    def is_budget_known(self) -> bool:
        """Whether a budget is recorded: earlier versions recorded none of multiply-accumulates."""
        return self.macs_budget is not None or self.latency is not None

    def is_made_like(self, other: Student) -> bool:
        """Whether both were made with the same options and unlabelled images, of teachers of about the same size.

        Their networks may differ, even those of their teachers, if these are students too.
        """

        def options(of: Student) -> tuple[float | None, float | None, int | None, str | None]:
            latency = None if of.latency is None else of.latency.budget
            return of.macs_budget, latency, of.stated_image_size, of.unlabelled_sha256

        ratio = self.teacher_macs / other.teacher_macs
        return options(self) == options(other) and max(ratio, 1 / ratio) <= _ALIKE

    @property
    def share(self) -> float:
        """Its multiply-accumulates as a share of the teacher's."""
        return self.macs / self.teacher_macs


@dataclass(frozen=True)
class RunConfig:
    """The content of `run.json`."""

    #: ISO 8601, UTC.
    started: str
    #: The version of cxr-edge that started it.
    cxr_edge: str
    labels: tuple[str, ...]
    #: Number of images in the split, by label.
    images: dict[str, int]
    #: SHA-256 that identifies the split and its images, from `Split.data_hash`.
    data_sha256: str
    options: TrainOptions
    images_with_patient: int = 0
    #: Why the patients in DICOM files were not accepted.
    patients_doubt: str | None = None
    #: The folder that each label was read from.
    class_folders: dict[str, str] = field(default_factory=dict)
    #: Folders that are not classes.
    left_out: tuple[str, ...] = ()
    skipped: tuple[SkippedImage, ...] = ()
    #: Number of images in each part, if the data was already split.
    given_parts: dict[str, int] = field(default_factory=dict)
    #: Patients, and images with copies, in more than one of those parts.
    leaks: tuple[str, ...] = ()
    #: Number of images of unknown source, if one source was held out: any of them may be of that source.
    without_source: int = 0
    #: Number of pictures that occur more than once.
    repeated: int = 0
    #: Warning about pictures that look the same but have different labels.
    doubt: str | None = None
    #: Labels that share no source with another label.
    sources_apart: tuple[str, ...] = ()
    #: Warnings about DICOM files, with the number of images.
    dicom_warnings: dict[str, int] = field(default_factory=dict)
    network: Network = XCEPTION
    #: None for a run that was not distilled from another one.
    student: Student | None = None
    schema: int = SCHEMA

    @property
    def training_data(self) -> TrainingData:
        return TrainingData.PHANTOMS if self.options.data is None else TrainingData.IMAGES

    @property
    def phantoms(self) -> bool:
        """Whether it is trained on synthetic images: its answers on real ones mean nothing."""
        return self.training_data is TrainingData.PHANTOMS

    @classmethod
    def from_json(cls, record: Any) -> RunConfig:
        """Parse `run.json` of this or any earlier version. Raises ValueError with the reason if it is invalid."""
        return records.from_json(cls, _migrated(record))


def _migrated(record: Any) -> Any:
    """Schema 1 had no version number; it had null for missing values, and early runs recorded less.

    Schema 3 describes the network, which was Xception before.
    """
    records.schema_of(record, SCHEMA)
    return {**record, "schema": SCHEMA}
