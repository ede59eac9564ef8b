"""`cxr-edge predict`: image files in, label and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr_edge.bundle import NOTICE, read_checked_artifact
from cxr_edge.errors import OptionError
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
        JSON-ready: `artifact`, `runtime`, `labels`, and a row a file with `label` and `probabilities`.

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
    rows = []
    for path, image in zip(images, pixels, strict=True):
        probabilities = session.run(image[None, :, :, None])[0].tolist()
        label = chosen.labels[probabilities.index(max(probabilities))]
        rows.append({"file": str(path), "label": label, "probabilities": probabilities})
    return {
        "notice": NOTICE,
        "artifact": chosen.name,
        "sha256": chosen.sha256,
        "runtime": runtime.title,
        "labels": list(chosen.labels),
        "warning": warning_about(chosen),
        "rows": rows,
    }
