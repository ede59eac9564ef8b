"""The faults in an audit, as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cxr_edge.auditing.record import (
    CopiedPicture,
    CopyKind,
    Difference,
    Finding,
    Patients,
    Severity,
    ShortcutTest,
    Sources,
    UnreadableFile,
    Verdict,
)
from cxr_edge.auditing.sources import apart
from cxr_edge.wording import counted

#: Cramer's V that is worth a warning, from 0 (borders or marks are equally frequent in every class) to 1 (they give the
#: class away). Marks on 19, 37 and 58 % of the radiographs' classes are at 0.26; borders on 23 to 25 % of the phantoms'
#: at 0.03.
ASSOCIATION = 0.2
SIGNIFICANT = 0.01


def findings_of(
    images: int,
    unreadable: Sequence[UnreadableFile],
    blank: Sequence[str],
    pictures: Sequence[CopiedPicture],
    patients: Patients,
    sources: Sources,
    differences: Sequence[Difference],
    shortcuts: Sequence[ShortcutTest],
    dicom_warnings: Mapping[str, int],
) -> tuple[Finding, ...]:
    """The faults that the parts of an audit's record show, the most serious first."""
    findings = [
        *_counted(images, len(unreadable), len(blank), pictures, patients),
        *_of_sources(sources),
        *_of_shortcuts(shortcuts),
        *_of_differences(differences),
        *(
            Finding(Severity.WARNING, "DICOM tags", f"{counted(count, 'DICOM image')}: {warning}", count)
            for warning, count in dicom_warnings.items()
        ),
    ]
    return tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity)))


def _counted(
    images: int, unreadable: int, blank: int, pictures: Sequence[CopiedPicture], patients: Patients
) -> list[Finding]:
    conflicts = sum(picture.across_classes for picture in pictures)
    divided = sum(picture.across_parts for picture in pictures)
    harmless = [picture for picture in pictures if not picture.across_classes and not picture.across_parts]
    exact, near = (sum(picture.kind is kind for picture in harmless) for kind in (CopyKind.EXACT, CopyKind.NEAR))
    shared, unknown = len(patients.across_parts), images - patients.images_with_patient
    serious, warning, note = Severity
    rows = [
        (serious, "unreadable", unreadable, ("file", "files"), "cannot be read; repair or remove"),
        (serious, "label conflict", conflicts, ("picture has", "pictures have"), "two labels"),
        (serious, "copies across splits", divided, ("picture is", "pictures are"), "in two parts of the split"),
        (serious, "patients across splits", shared, ("patient is", "patients are"), "in two parts of the split"),
        (warning, "exact copies", exact, ("picture is", "pictures are"), "in the data more than once, byte for byte"),
        (warning, "near copies", near, ("picture is", "pictures are"), "in the data more than once, as near copies"),
        (warning, "blank", blank, ("image is", "images are"), "of one colour"),
        (note, "patients across classes", patients.across_classes, ("patient has", "patients have"), "two labels"),
        (
            note,
            "unknown patients",
            unknown,
            ("image", "images"),
            "of unknown patients, who may be in two parts of a split",
        ),
    ]
    return [
        Finding(severity, kind, f"{counted(count, *subject)} {rest}", count)
        for severity, kind, count, subject, rest in rows
        if count
    ]


def _of_sources(sources: Sources) -> list[Finding]:
    alone = apart(sources)
    return [
        Finding(
            severity,
            "sources",
            f"{subject.format(', '.join(labels))} with another class: whatever gives away the source gives away the "
            "class",
        )
        for severity, labels, subject in (
            (Severity.SERIOUS, alone.none, "no image of {} shares its source"),
            (Severity.WARNING, alone.few, "less than half of the images of {} share their source"),
        )
        if labels
    ]


def _of_shortcuts(shortcuts: Sequence[ShortcutTest]) -> list[Finding]:
    severities = {Verdict.STRONG: Severity.SERIOUS, Verdict.SOME: Severity.NOTE}
    findings = [
        Finding(severities[test.verdict], f"shortcut: {test.test}", test.sentence)
        for test in shortcuts
        if test.verdict in severities
    ]
    if shortcuts[0].verdict is Verdict.NOT_TESTED:
        findings.append(Finding(Severity.NOTE, "shortcuts", f"shortcuts were not tested: {shortcuts[0].sentence}"))
    return findings


def _of_differences(differences: Sequence[Difference]) -> list[Finding]:
    findings = []
    for difference in differences:
        if difference.association >= ASSOCIATION and difference.p_value < SIGNIFICANT:
            shares = ", ".join(f"{label} {100 * (share.value or 0):.0f} %" for label, share in difference.share.items())
            text = f"{difference.what} are not equally frequent in all classes: {shares}"
            findings.append(Finding(Severity.WARNING, difference.what, text))
    return findings
