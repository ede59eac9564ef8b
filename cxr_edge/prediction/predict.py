"""`cxr-edge predict`: image files in, label and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.artifacts.bundle import checked, read_checked_artifact
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.operating import REFER, operating_point_of
from cxr_edge.imaging.dicom import dicom_facts, is_dicom, warnings_about
from cxr_edge.imaging.prefetch import decoded_ahead
from cxr_edge.machine import usable_cores
from cxr_edge.prediction.fastest import fastest
from cxr_edge.prediction.overlay import write_overlay
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.runtimes.selection import best_artifacts, find_bundle, warning_about, warning_about_image

#: The runtime to ask for when the fastest is wanted that computes what was validated.
AUTO = "auto"


def predict(
    images: list[Path],
    artifact: Path | None,
    bundle: Path | None,
    run: Path | None,
    runtime_name: str | None,
    threads: int | None,
    heatmap: Path | None = None,
) -> dict[str, Any]:
    """Classify image files; the next are decoded meanwhile.

    Args:
        images: the files.
        artifact, bundle, run: what to classify them with; see `cxr_edge.runtimes.selection`.
        runtime_name: the runtime; None or `AUTO` for the fastest here, see `cxr_edge.prediction.fastest`.
        threads: of one inference; None for all usable cores.
        heatmap: where to draw what speaks for the top class: a file, or for several images a folder.

    Returns:
        JSON-ready: `artifact`, `runtime`, `labels`, `operating_point`, and a row a file with `label`, the top class,
        `probabilities`, by the operating point, if the artifact has one, `decision`, with `heatmap` the `overlay` that
        was written and the map itself, `[H][W][K]`, and of a DICOM file its `dicom` facts and the `warnings` they give.

    Raises:
        ImageError, ArtifactError, RunError, OptionError, MissingDependencyError.
    """
    account = None
    if runtime_name in (None, AUTO):
        able = [read_checked_artifact(artifact)] if artifact is not None else best_artifacts(find_bundle(bundle, run))
        chosen, runtime, account = fastest(able, threads or usable_cores())
        if artifact is None:
            checked(chosen)
    else:
        runtime = runtime_named(str(runtime_name))
        if artifact is None:
            chosen = checked(best_artifacts(find_bundle(bundle, run), runtime)[0])
        else:
            chosen = read_checked_artifact(artifact)
        if chosen.format not in runtime.formats:
            raise OptionError(f"{runtime.title} does not read .{chosen.format} files ({chosen.name})")
    if heatmap is not None and not chosen.has_heatmap:
        raise OptionError(f"{chosen.path}: has no heat map; export it again, without --no-heatmap")
    overlays = [None] * len(images) if heatmap is None else _overlays(images, heatmap)
    session = runtime.load(chosen.path, threads or usable_cores())
    point = operating_point_of(chosen.metadata.operating_point)
    rows = []
    pixels = decoded_ahead(images, chosen.image_size, usable_cores(), chosen.resize)
    for path, image, overlay in zip(images, pixels, overlays, strict=True):
        maps = None
        if overlay is None:
            found = session.run(image)
        else:
            found, maps = session.explain(image)
        probabilities = found[0].tolist()
        top = probabilities.index(max(probabilities))
        row: dict[str, Any] = {"file": str(path), "label": chosen.labels[top], "probabilities": probabilities}
        if is_dicom(path):
            facts = dicom_facts(path)
            row.update(dicom=facts, warnings=warnings_about(facts))
            if line := warning_about_image(chosen, path):
                row["warnings"].append(line)
        if overlay is not None and maps is not None:
            write_overlay(path, maps[0, ..., top], chosen.labels[top], chosen.name, overlay, chosen.resize)
            row.update(overlay=str(overlay), heatmap=maps[0].tolist())
        if point is not None:
            (called,), (referred,) = point.decide(np.array([probabilities]), chosen.labels)
            row["decision"] = REFER if referred else chosen.labels[called]
        rows.append(row)
    return {
        "notice": NOTICE,
        "artifact": chosen.name,
        "sha256": chosen.sha256,
        "runtime": runtime.title,
        "ran_on": session.ran_on,
        "chosen": account,
        "labels": list(chosen.labels),
        "operating_point": None if point is None else point.to_json(),
        "warning": str(warning) if (warning := warning_about(chosen)) else None,
        "rows": rows,
    }


def _overlays(images: list[Path], target: Path) -> list[Path]:
    """The file of each image's overlay. Raises OptionError where two would be one, or none can be."""
    if len(images) == 1 and not target.is_dir():
        if target.suffix.lower() != ".png":
            raise OptionError(f"--heatmap {target}: the name must end in .png, or be that of a folder")
        return [target]
    if not target.is_dir():
        raise OptionError(f"--heatmap {target}: for {len(images)} images, name a folder that exists")
    overlays = [target / f"{path.stem}-heatmap.png" for path in images]
    twice = next((path for path in overlays if overlays.count(path) > 1), None)
    if twice is not None:
        raise OptionError(f"--heatmap {target}: several images would be drawn to {twice.name}; draw them one by one")
    return overlays
