"""The record of an audit, as written by `audit --json`, printed, and shown on the page; needs no SciPy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cxr_edge import records
from cxr_edge.intervals import Interval
from cxr_edge.records import JsonObject

#: 2 added `schema` and `dicom_warnings`.
SCHEMA = 2


class Severity(StrEnum):
    """How serious a finding is, the most serious first."""

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"


class CopyKind(StrEnum):
    """Whether the files of one picture have the same bytes."""

    EXACT = "exact"
    NEAR = "near"


class Verdict(StrEnum):
    """How well a shortcut test recognizes the class."""

    STRONG = "strong"
    SOME = "some"
    NONE = "none"
    COMPARISON = "for comparison"
    NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for copies: bits of the perceptual hash, and minimum correlations."""

    hash_bits: int
    correlation: float
    local_correlation: float


@dataclass(frozen=True)
class Spread:
    """The spread of one figure per image over a class."""

    mean: float
    std: float
    median: float


@dataclass(frozen=True)
class Sizes:
    """Image sizes as text, such as 256 x 256: the number of distinct ones, and the most common with their counts."""

    different: int
    most_common: dict[str, int]


@dataclass(frozen=True)
class ClassSummary:
    """One class. The measurements are absent if none of its images can be read.

    Grey values are in levels 0..255, `black_pixels` and `white_pixels` shares of an image's pixels.
    """

    label: str
    images: int
    unreadable: int
    sizes: Sizes | None = None
    modes: dict[str, int] | None = None
    formats: dict[str, int] | None = None
    kilobytes: Spread | None = None
    grey_mean: Spread | None = None
    grey_std: Spread | None = None
    grey_1_percent: Spread | None = None
    grey_99_percent: Spread | None = None
    black_pixels: Spread | None = None
    white_pixels: Spread | None = None


@dataclass(frozen=True)
class UnreadableFile:
    """A file that cannot be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class CopiedFile:
    """One file of a picture that occurs more than once; `part` is empty without a split."""

    path: str
    label: str
    part: str


@dataclass(frozen=True)
class NearPair:
    """Two files of one picture with different bytes: their correlation, and how one was altered, in words."""

    first: str
    second: str
    correlation: float
    how: str


@dataclass(frozen=True)
class CopiedPicture:
    """A picture that occurs more than once, and whether its files cross labels or parts of the split."""

    kind: CopyKind
    across_classes: bool
    across_parts: bool
    files: tuple[CopiedFile, ...]
    near_pairs: tuple[NearPair, ...]


@dataclass(frozen=True)
class PatientFile:
    """An image of a patient with images in several parts of the split."""

    path: str
    part: str


@dataclass(frozen=True)
class DividedPatient:
    """A patient with images in several parts of the split."""

    patient: str
    files: tuple[PatientFile, ...]


@dataclass(frozen=True)
class Patients:
    """The known patients; `across_classes` counts patients with several labels."""

    images_with_patient: int
    patients: int
    across_classes: int
    across_parts: tuple[DividedPatient, ...]


@dataclass(frozen=True)
class Sources:
    """Where images come from.

    `sources` counts the images of each label by source, the largest first; `shared` is, for each label with known
    sources, the share of its images from sources that also have another label; `association` is Cramer's V of source
    and label, None if there is nothing to compare.
    """

    images_with_source: int
    sources: dict[str, dict[str, int]]
    shared: dict[str, float]
    association: float | None


@dataclass(frozen=True)
class Difference:
    """How often each class has a feature, Cramer's V of feature and class, and the p-value of the chi-squared test."""

    what: str
    share: dict[str, Interval]
    association: float
    p_value: float


@dataclass(frozen=True)
class ShortcutTest:
    """How well a small model guesses the class without seeing the lungs.

    The measurements are absent if the test was not run; `balanced_accuracy` is then None, and `sentence` says why.
    """

    test: str
    sees: str
    balanced_accuracy: Interval | None
    verdict: Verdict
    sentence: str
    images: int | None = None
    folds: int | None = None
    chance: float | None = None
    recall: dict[str, float] | None = None


@dataclass(frozen=True)
class Finding:
    """A fault or a possible one; `count` is absent if there is nothing to count."""

    severity: Severity
    kind: str
    text: str
    count: int | None = None


@dataclass(frozen=True)
class Audit:
    """All results of an audit of a collection of images. Paths are relative to its folder.

    `dicom_warnings` counts, by reason, the DICOM files whose tags contradict a frontal chest X-ray.
    """

    cxr_edge: str
    data: str
    layout: str
    images: int
    labels: tuple[str, ...]
    left_out: tuple[str, ...]
    parts: dict[str, int]
    thresholds: Thresholds
    classes: tuple[ClassSummary, ...]
    unreadable: tuple[UnreadableFile, ...]
    blank: tuple[str, ...]
    copies: tuple[CopiedPicture, ...]
    patients: Patients
    sources: Sources
    differences: tuple[Difference, ...]
    shortcuts: tuple[ShortcutTest, ...]
    dicom_warnings: dict[str, int]
    findings: tuple[Finding, ...]
    serious: bool
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, value: JsonObject) -> Audit:
        """From a record of this or an earlier version. Raises ValueError."""
        return records.from_json(cls, _migrated(value))


def _migrated(value: JsonObject) -> JsonObject:
    """Migrate a record of any version; the first had no version number."""
    if value.get("schema", 1) == 1:
        return {**value, "schema": SCHEMA, "dicom_warnings": {}}
    return value
