"""The audit of a collection of images: all measurements, and the faults among them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from scipy import stats

from cxr_edge import __version__
from cxr_edge.auditing.findings import findings_of
from cxr_edge.auditing.folders import Collection, Image
from cxr_edge.auditing.measure import Measurement
from cxr_edge.auditing.record import (
    Audit,
    ClassSummary,
    CopiedFile,
    CopiedPicture,
    CopyKind,
    Difference,
    DividedPatient,
    NearPair,
    PatientFile,
    Patients,
    Severity,
    ShortcutTest,
    Sizes,
    Spread,
    Thresholds,
    UnreadableFile,
)
from cxr_edge.auditing.shortcut import shortcut_tests
from cxr_edge.auditing.sources import compare_sources
from cxr_edge.copies.altered import MIN_LOCAL_CORRELATION
from cxr_edge.copies.duplicates import MAX_DISTANCE, MIN_CORRELATION, Copies, find_copies, kept_together
from cxr_edge.data.fingerprint import Unreadable
from cxr_edge.intervals import wilson_interval

#: Standard deviation, in grey levels, below which an image counts as blank.
BLANK = 1.0
#: Minimum share of the area for a border to count.
BORDER = 0.01

_FEATURES: dict[str, Callable[[Measurement], bool]] = {
    "borders of one colour": lambda measurement: measurement.border >= BORDER,
    "burnt-in marks": lambda measurement: measurement.marks > 0,
}

Stage = Callable[[str], AbstractContextManager[Any]]
Measured = list[Measurement | Unreadable]


def audit(collection: Collection, measured: Measured, stage: Stage = lambda title: nullcontext()) -> Audit:
    """Audit a collection of images.

    Args:
        collection: from `cxr_edge.auditing.folders.find_images`.
        measured: from `cxr_edge.auditing.measure.measure_all`, in the order of the collection.
        stage: makes a context manager, from a title, that is entered for each lengthy step.
    """
    images = collection.images
    with stage("comparing images"):
        copies = find_copies(measured)
    with stage("shortcut test"):
        shortcuts = _shortcuts(collection, measured, copies)
    pairs = list(zip(images, measured, strict=True))
    pictures = _copied_pictures(images, copies)
    unreadable = tuple(UnreadableFile(image.path, file.reason) for image, file in pairs if isinstance(file, Unreadable))
    blank = tuple(image.path for image, file in pairs if isinstance(file, Measurement) and file.std < BLANK)
    patients = _patients(images)
    sources = compare_sources(((image.label, image.source) for image in images), collection.labels)
    differences = _differences(collection, measured)
    warnings = Counter(warning for file in measured if isinstance(file, Measurement) for warning in file.warnings)
    dicom_warnings = dict(warnings.most_common())
    findings = findings_of(
        len(images), unreadable, blank, pictures, patients, sources, differences, shortcuts, dicom_warnings
    )
    return Audit(
        cxr_edge=__version__,
        data=collection.root.resolve().name,
        layout=collection.layout,
        images=len(images),
        labels=collection.labels,
        left_out=collection.left_out,
        parts=dict(sorted(Counter(image.part for image in images if image.part).items())),
        thresholds=Thresholds(MAX_DISTANCE, MIN_CORRELATION, MIN_LOCAL_CORRELATION),
        classes=tuple(_class_summary(label, collection, measured) for label in collection.labels),
        unreadable=unreadable,
        blank=blank,
        copies=pictures,
        patients=patients,
        sources=sources,
        differences=differences,
        shortcuts=shortcuts,
        dicom_warnings=dicom_warnings,
        findings=findings,
        serious=any(finding.severity is Severity.SERIOUS for finding in findings),
    )


def _spread(values: Iterable[float]) -> Spread:
    array = np.fromiter(values, dtype=np.float64)
    return Spread(
        mean=round(float(array.mean()), 4), std=round(float(array.std()), 4), median=round(float(np.median(array)), 4)
    )


def _class_summary(label: str, collection: Collection, measured: Measured) -> ClassSummary:
    files = [file for image, file in zip(collection.images, measured, strict=True) if image.label == label]
    readable = [file for file in files if isinstance(file, Measurement)]
    if not readable:
        return ClassSummary(label, len(files), len(files))
    sizes = Counter(f"{file.width} x {file.height}" for file in readable)
    return ClassSummary(
        label=label,
        images=len(files),
        unreadable=len(files) - len(readable),
        sizes=Sizes(len(sizes), dict(sizes.most_common(5))),
        modes=dict(Counter(file.mode for file in readable).most_common()),
        formats=dict(Counter(file.format for file in readable).most_common()),
        kilobytes=_spread(file.bytes / 1000 for file in readable),
        grey_mean=_spread(file.mean for file in readable),
        grey_std=_spread(file.std for file in readable),
        grey_1_percent=_spread(file.quantiles[0] for file in readable),
        grey_99_percent=_spread(file.quantiles[2] for file in readable),
        black_pixels=_spread(file.black for file in readable),
        white_pixels=_spread(file.white for file in readable),
    )


def _copied_pictures(images: tuple[Image, ...], copies: Copies) -> tuple[CopiedPicture, ...]:
    """Pictures that occur more than once, the most serious first."""
    members: dict[int, list[Image]] = defaultdict(list)
    for image, cluster in zip(images, copies.cluster.tolist(), strict=True):
        members[cluster].append(image)
    pairs: dict[int, list[NearPair]] = defaultdict(list)
    for pair in copies.near:
        pairs[int(copies.cluster[pair.first])].append(
            NearPair(images[pair.first].path, images[pair.second].path, round(pair.correlation, 4), pair.how)
        )
    pictures = [
        CopiedPicture(
            kind=CopyKind.NEAR if pairs[cluster] else CopyKind.EXACT,
            across_classes=len({image.label for image in files}) > 1,
            across_parts=len({image.part for image in files if image.part}) > 1,
            files=tuple(CopiedFile(image.path, image.label, image.part) for image in files),
            near_pairs=tuple(pairs[cluster]),
        )
        for cluster, files in members.items()
        if len(files) > 1
    ]
    return tuple(sorted(pictures, key=_seriousness))


def _seriousness(picture: CopiedPicture) -> tuple[bool, bool, CopyKind]:
    return not picture.across_classes, not picture.across_parts, picture.kind


def _patients(images: tuple[Image, ...]) -> Patients:
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        if image.patient:
            groups[image.patient].append(image)
    return Patients(
        images_with_patient=sum(len(group) for group in groups.values()),
        patients=len(groups),
        across_classes=sum(len({image.label for image in group}) > 1 for group in groups.values()),
        across_parts=tuple(
            DividedPatient(patient, tuple(PatientFile(image.path, image.part) for image in group))
            for patient, group in sorted(groups.items())
            if len({image.part for image in group if image.part}) > 1
        ),
    )


def _differences(collection: Collection, measured: Measured) -> tuple[Difference, ...]:
    by_label: dict[str, list[Measurement]] = defaultdict(list)
    for image, measurement in zip(collection.images, measured, strict=True):
        if isinstance(measurement, Measurement):
            by_label[image.label].append(measurement)
    differences = []
    for what, has in _FEATURES.items():
        counts = {label: sum(map(has, by_label[label])) for label in collection.labels if label in by_label}
        table = np.array([[count, len(by_label[label]) - count] for label, count in counts.items()])
        association, p_value = 0.0, 1.0
        if len(counts) > 1 and (table.sum(axis=0) > 0).all():
            association = float(stats.contingency.association(table, method="cramer"))
            p_value = float(stats.chi2_contingency(table).pvalue)
        shares = {label: wilson_interval(count, len(by_label[label])) for label, count in counts.items()}
        differences.append(Difference(what, shares, round(association, 4), p_value))
    return tuple(differences)


def _shortcuts(collection: Collection, measured: Measured, copies: Copies) -> tuple[ShortcutTest, ...]:
    readable = {index: file for index, file in enumerate(measured) if isinstance(file, Measurement)}
    targets = np.array([collection.labels.index(collection.images[index].label) for index in readable], dtype=np.int64)
    groups = kept_together([image.patient for image in collection.images], copies.cluster)[list(readable)]
    return shortcut_tests(list(readable.values()), targets, groups, collection.labels)
