"""Which DICOM images belong to one patient, under anonymous numbers, and which PatientIDs identify nobody."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cxr_edge.errors import ImageError, MissingDependencyError
from cxr_edge.imaging.dicom import PatientTags, patient_tags
from cxr_edge.imaging.dicom_files import is_dicom


class DicomPatients(NamedTuple):
    """Patient numbers, such as `dicom-0001`, None for a file without one; and the IDs not accepted as patients.

    `doubt` is one line on PatientIDs that identify nobody, None if there are none.
    """

    names: list[str | None]
    doubt: str | None


def dicom_patients(paths: Sequence[Path], labels: Sequence[int]) -> DicomPatients:
    """Number the patients of DICOM files in order of appearance.

    A patient is a PatientID with its issuer. The values that de-identification leaves identify nobody: an empty ID, one
    ID on more than half of the DICOM images of a class, or one ID on women and men.

    Args:
        paths: of N files; a file that is not DICOM, or has a damaged header, has no patient.
        labels: the label index of each.

    Returns:
        No patients if pydicom is not installed.
    """
    tags: dict[int, PatientTags] = {}
    try:
        for index, path in enumerate(paths):
            # Decoding reports damaged files, and pydicom if it is missing.
            with suppress(ImageError):
                if is_dicom(path):
                    tags[index] = patient_tags(path)
    except MissingDependencyError:
        return DicomPatients([None] * len(paths), None)
    nobody = _nobody(tags, labels)
    numbers: dict[tuple[str, str], str] = {}
    names = [
        numbers.setdefault(tags[index].patient, f"dicom-{len(numbers) + 1:04d}")
        if index in tags and tags[index].patient not in nobody
        else None
        for index in range(len(paths))
    ]
    reasons = Counter(nobody[image.patient] for image in tags.values() if image.patient in nobody)
    if not reasons:
        return DicomPatients(names, None)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return DicomPatients(
        names,
        f"the PatientID of {reasons.total()} of {len(tags)} DICOM images identifies no patient ({counted}); name their "
        "patients in patients.csv, or in the table's column patient_id",
    )


def _nobody(tags: dict[int, PatientTags], labels: Sequence[int]) -> dict[tuple[str, str], str]:
    """PatientIDs that identify nobody, with the reason."""
    images: Counter[int] = Counter()
    shares: Counter[tuple[int, tuple[str, str]]] = Counter()
    sexes = defaultdict(set)
    for index, image in tags.items():
        images[labels[index]] += 1
        shares[labels[index], image.patient] += 1
        sexes[image.patient].add(image.sex)
    reasons = {patient: "with one ID for both sexes" for patient, known in sexes.items() if {"F", "M"} <= known}
    for (label, patient), count in shares.items():
        if count > 1 and 2 * count > images[label]:
            reasons[patient] = "with one ID for more than half of a class"
    return {**reasons, **{patient: "without an ID" for patient in sexes if not patient[0]}}
