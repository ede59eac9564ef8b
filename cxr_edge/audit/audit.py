"""The audit of a folder of images: everything measured, and what of it is a fault, as one JSON-ready record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from scipy import stats

from cxr_edge import __version__
from cxr_edge.audit.folders import Collection, Image
from cxr_edge.audit.measure import Measurement
from cxr_edge.audit.shortcut import shortcut_tests
from cxr_edge.audit.sources import apart, compare_sources
from cxr_edge.copies.altered import MIN_LOCAL_CORRELATION
from cxr_edge.copies.duplicates import MAX_DISTANCE, MIN_CORRELATION, Copies, find_copies, kept_together
from cxr_edge.data.fingerprint import Unreadable
from cxr_edge.statistics.intervals import share

#: Cramer's V, from 0 (borders or marks are as frequent in every class) to 1 (they name it), that is worth a warning.
#: Marks on 19, 37 and 58 % of the radiographs' classes are at 0.26; borders on 23 to 25 % of the phantoms' at 0.03.
ASSOCIATION = 0.2
SIGNIFICANT = 0.01
#: Standard deviation, in grey levels, below which an image shows nothing.
BLANK = 1.0
#: Share of the area that a border must have to be counted.
BORDER = 0.01

SERIOUS, WARNING, NOTE = "serious", "warning", "note"

_FEATURES: dict[str, Callable[[Measurement], bool]] = {
    "borders of one colour": lambda one: one.border >= BORDER,
    "burnt-in marks": lambda one: one.marks > 0,
}

Stage = Callable[[str], AbstractContextManager[Any]]


def audit(
    collection: Collection, measured: list[Measurement | Unreadable], stage: Stage = lambda title: nullcontext()
) -> dict[str, Any]:
    """Audit a collection of images.

    Args:
        collection: of `cxr_edge.audit.folders.find_images`.
        measured: of `cxr_edge.audit.measure.measure_all`, in the order of the collection.
        stage: a context manager to enter, with its title, for each step that takes a while.

    Returns:
        The record that `cxr-edge audit --json` writes; paths in it are relative to the folder.
    """
    images = collection.images
    with stage("comparing images"):
        copies = find_copies(measured)
    with stage("shortcut test"):
        shortcuts = _shortcuts(collection, measured, copies)
    record: dict[str, Any] = {
        "cxr_edge": __version__,
        "data": collection.root.resolve().name,
        "layout": collection.layout,
        "images": len(images),
        "labels": list(collection.labels),
        "left_out": list(collection.left_out),
        "parts": dict(sorted(Counter(image.part for image in images if image.part).items())),
        "thresholds": {
            "hash_bits": MAX_DISTANCE,
            "correlation": MIN_CORRELATION,
            "local_correlation": MIN_LOCAL_CORRELATION,
        },
        "classes": [_class_row(label, collection, measured) for label in collection.labels],
        "unreadable": [
            {"path": image.path, "reason": one.reason}
            for image, one in zip(images, measured, strict=True)
            if isinstance(one, Unreadable)
        ],
        "blank": [
            image.path
            for image, one in zip(images, measured, strict=True)
            if isinstance(one, Measurement) and one.std < BLANK
        ],
        "copies": _copy_rows(images, copies),
        "patients": _patients(images),
        "sources": compare_sources(((image.label, image.source) for image in images), collection.labels),
        "differences": _differences(collection, measured),
        "shortcuts": shortcuts,
    }
    record["findings"] = _findings(record)
    record["serious"] = any(finding["severity"] == SERIOUS for finding in record["findings"])
    return record


def _spread(values: Iterable[float]) -> dict[str, float]:
    array = np.fromiter(values, dtype=np.float64)
    return {
        "mean": round(float(array.mean()), 4),
        "std": round(float(array.std()), 4),
        "median": round(float(np.median(array)), 4),
    }


def _class_row(label: str, collection: Collection, measured: list[Measurement | Unreadable]) -> dict[str, Any]:
    mine = [one for image, one in zip(collection.images, measured, strict=True) if image.label == label]
    good = [one for one in mine if isinstance(one, Measurement)]
    row: dict[str, Any] = {"label": label, "images": len(mine), "unreadable": len(mine) - len(good)}
    if good:
        sizes = Counter(f"{one.width} x {one.height}" for one in good)
        row |= {
            "sizes": {"different": len(sizes), "most_common": dict(sizes.most_common(5))},
            "modes": dict(Counter(one.mode for one in good).most_common()),
            "formats": dict(Counter(one.format for one in good).most_common()),
            "kilobytes": _spread(one.bytes / 1000 for one in good),
            "grey_mean": _spread(one.mean for one in good),
            "grey_std": _spread(one.std for one in good),
            "grey_1_percent": _spread(one.quantiles[0] for one in good),
            "grey_99_percent": _spread(one.quantiles[2] for one in good),
            "black_pixels": _spread(one.black for one in good),
            "white_pixels": _spread(one.white for one in good),
        }
    return row


def _copy_rows(images: tuple[Image, ...], copies: Copies) -> list[dict[str, Any]]:
    """One row a picture that is there more than once; the graver ones first."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, cluster in enumerate(copies.cluster.tolist()):
        members[cluster].append(index)
    pairs = defaultdict(list)
    for pair in copies.near:
        pairs[int(copies.cluster[pair.first])].append(
            {
                "first": images[pair.first].path,
                "second": images[pair.second].path,
                "correlation": round(pair.correlation, 4),
                "how": pair.how,
            }
        )
    rows = []
    for cluster, indices in members.items():
        if len(indices) > 1:
            own = [images[index] for index in indices]
            rows.append(
                {
                    "kind": "near" if pairs[cluster] else "exact",
                    "across_classes": len({image.label for image in own}) > 1,
                    "across_parts": len({image.part for image in own if image.part}) > 1,
                    "files": [{"path": image.path, "label": image.label, "part": image.part} for image in own],
                    "near_pairs": pairs[cluster],
                }
            )
    return sorted(rows, key=lambda row: (not row["across_classes"], not row["across_parts"], row["kind"]))


def _patients(images: tuple[Image, ...]) -> dict[str, Any]:
    own: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        if image.patient:
            own[image.patient].append(image)
    return {
        "images_with_patient": sum(len(group) for group in own.values()),
        "patients": len(own),
        "across_classes": sum(len({image.label for image in group}) > 1 for group in own.values()),
        "across_parts": [
            {"patient": patient, "files": [{"path": image.path, "part": image.part} for image in group]}
            for patient, group in sorted(own.items())
            if len({image.part for image in group if image.part}) > 1
        ],
    }


def _differences(collection: Collection, measured: list[Measurement | Unreadable]) -> list[dict[str, Any]]:
    """Share of each class with borders or burnt-in marks, Cramer's V of the two, and the p-value of chi squared."""
    own: dict[str, list[Measurement]] = defaultdict(list)
    for image, one in zip(collection.images, measured, strict=True):
        if isinstance(one, Measurement):
            own[image.label].append(one)
    rows = []
    for what, has in _FEATURES.items():
        having = {label: np.array([has(one) for one in own[label]]) for label in collection.labels if label in own}
        table = np.array([[found.sum(), (~found).sum()] for found in having.values()])
        association, p_value = 0.0, 1.0
        if len(having) > 1 and (table.sum(axis=0) > 0).all():
            association = float(stats.contingency.association(table, method="cramer"))
            p_value = float(stats.chi2_contingency(table).pvalue)
        rows.append(
            {
                "what": what,
                "share": {label: share(found) for label, found in having.items()},
                "association": round(association, 4),
                "p_value": p_value,
            }
        )
    return rows


def _shortcuts(
    collection: Collection, measured: list[Measurement | Unreadable], copies: Copies
) -> list[dict[str, Any]]:
    good = [index for index, one in enumerate(measured) if isinstance(one, Measurement)]
    targets = np.array([collection.labels.index(collection.images[index].label) for index in good], dtype=np.int64)
    groups = kept_together([image.patient for image in collection.images], copies.cluster)[good]
    kept = [one for one in measured if isinstance(one, Measurement)]
    return shortcut_tests(kept, targets, groups, collection.labels)


def _findings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What is a fault, the gravest first."""
    copies, patients = record["copies"], record["patients"]
    harmless = [row for row in copies if not row["across_classes"] and not row["across_parts"]]
    unknown = record["images"] - patients["images_with_patient"]
    conflicts = sum(row["across_classes"] for row in copies)
    divided = sum(row["across_parts"] for row in copies)
    shared = len(patients["across_parts"])
    exact, near = (sum(row["kind"] == kind for row in harmless) for kind in ("exact", "near"))
    found = [
        (SERIOUS, "unreadable", len(record["unreadable"]), "{file|files} cannot be read; mend or remove"),
        (SERIOUS, "label conflict", conflicts, "{picture lies|pictures lie} under two labels"),
        (SERIOUS, "copies across splits", divided, "{picture is|pictures are} in two parts of the split"),
        (SERIOUS, "patients across splits", shared, "{patient is|patients are} in two parts of the split"),
        (WARNING, "exact copies", exact, "{picture is|pictures are} there more than once, byte for byte"),
        (WARNING, "near copies", near, "{picture is|pictures are} there more than once, as near copies"),
        (WARNING, "blank", len(record["blank"]), "{image is|images are} of one colour"),
        (NOTE, "patients across classes", patients["across_classes"], "{patient has|patients have} two labels"),
        (NOTE, "unknown patients", unknown, "{image|images} of unknown patients, who may be in two parts of a split"),
    ]
    findings = [
        {"severity": severity, "kind": kind, "count": count, "text": _counted(count, text)}
        for severity, kind, count, text in found
        if count
    ]
    none, few = apart(record["sources"])
    for severity, labels, subject in (
        (SERIOUS, none, "no image of {} shares its source"),
        (WARNING, few, "less than half of the images of {} share their source"),
    ):
        if labels:
            text = f"{subject.format(', '.join(labels))} with another class: whatever tells the source tells the class"
            findings.append({"severity": severity, "kind": "sources", "text": text})
    for row in record["shortcuts"]:
        if row["verdict"] in ("strong", "some"):
            severity = SERIOUS if row["verdict"] == "strong" else NOTE
            findings.append({"severity": severity, "kind": f"shortcut: {row['test']}", "text": row["sentence"]})
    if record["shortcuts"][0]["verdict"] == "not tested":
        why = f"shortcuts were not tested: {record['shortcuts'][0]['sentence']}"
        findings.append({"severity": NOTE, "kind": "shortcuts", "text": why})
    for row in record["differences"]:
        if row["association"] >= ASSOCIATION and row["p_value"] < SIGNIFICANT:
            shares = ", ".join(f"{label} {100 * found['value']:.0f} %" for label, found in row["share"].items())
            findings.append(
                {"severity": WARNING, "kind": row["what"], "text": f"{row['what']} differ a class: {shares}"}
            )
    order = (SERIOUS, WARNING, NOTE)
    return sorted(findings, key=lambda finding: order.index(str(finding["severity"])))


def _counted(count: int, text: str) -> str:
    """`3 files` of "{file|files}"."""
    head, rest = text.removeprefix("{").split("}")
    one, more = head.split("|")
    return f"{count} {one if count == 1 else more}{rest}"
