"""`cxr-edge predict`: image files in, label and probabilities out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.bundle import NOTICE, read_checked_artifact
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.operating import REFER, operating_point_of
from cxr_edge.imaging import load_image
from cxr_edge.locate import best_artifact, find_bundle, warning_about
from cxr_edge.machine import usable_cores
from cxr_edge.runtimes.base import runtime_named, runtimes_for


def predict(
    images: list[Path],
    artifact: Path | None,
    bundle: Path | None,
    run: Path | None,
    runtime_name: str | None,
    threads: int | None,
) -> dict[str, Any]:
    """Classify image files, one after the other.

    Returns:
        JSON-ready: `artifact`, `runtime`, `labels`, `operating_point`, and a row a file with `label`, the top class,
        `probabilities`, and by the operating point, if the artifact has one, `decision`.

    Raises:
        ImageError, ArtifactError, RunError, OptionError, MissingDependencyError.
    """
    named = None if runtime_name is None else runtime_named(runtime_name)
    chosen = read_checked_artifact(artifact) if artifact is not None else best_artifact(find_bundle(bundle, run), named)
    runtime = named or runtimes_for(chosen.format)[0]
    if chosen.format not in runtime.formats:
        raise OptionError(f"{runtime.title} does not read .{chosen.format} files ({chosen.name})")
    pixels = [load_image(path, chosen.image_size) for path in images]
    session = runtime.load(chosen.path, threads or usable_cores())
    point = operating_point_of(chosen.metadata)
    rows = []
    for path, image in zip(images, pixels, strict=True):
        probabilities = session.run(image[None, :, :, None])[0].tolist()
        label = chosen.labels[probabilities.index(max(probabilities))]
        row = {"file": str(path), "label": label, "probabilities": probabilities}
        if point is not None:
            (called,), (referred,) = point.decide(np.array([probabilities]), chosen.labels)
            row["decision"] = REFER if referred else chosen.labels[called]
        rows.append(row)
    return {
        "notice": NOTICE,
        "artifact": chosen.name,
        "sha256": chosen.sha256,
        "runtime": runtime.title,
        "labels": list(chosen.labels),
        "operating_point": None if point is None else asdict(point),
        "warning": warning_about(chosen),
        "rows": rows,
    }
