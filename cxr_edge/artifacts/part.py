"""Part of a bundle as a separate bundle: a device needs one or two artifacts, not all that were exported."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import REFERENCES, write_manifest
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.errors import OptionError
from cxr_edge.files import new_folder


def matching(artifacts: Sequence[Artifact], names: Sequence[str]) -> list[Artifact]:
    """The artifacts that match the names, in the artifacts' order.

    Args:
        artifacts: of a bundle.
        names: each a file name, a quantization and format (`int8.tflite`), a quantization (`int8`) or a format
            (`tflite`).

    Raises:
        OptionError: a name matches none of them, or the bundle is a cascade.
    """
    for artifact in artifacts:
        if isinstance(artifact, Cascade):
            raise OptionError(
                f"{artifact.path}: a cascade is one artifact, without parts; its models are in their own runs' bundles"
            )
    selected: list[Artifact] = []
    for name in names:
        matches = [artifact for artifact in artifacts if name in _names_of(artifact)]
        if not matches:
            there = ", ".join(artifact.name for artifact in artifacts)
            raise OptionError(f"--only {name}: no such artifact in the bundle; it holds {there}")
        selected += matches
    return [artifact for artifact in artifacts if artifact in selected]


def _names_of(artifact: Artifact) -> set[str]:
    return {
        artifact.name,
        f"{artifact.quantization}.{artifact.format}",
        str(artifact.quantization),
        str(artifact.format),
    }


def write_part(artifacts: Sequence[Artifact], folder: Path) -> None:
    """Copy artifacts of one bundle with their reference inputs, and write a manifest of just these; no model card.

    The folder appears complete or not at all.

    Raises:
        OptionError: the folder already exists and is not empty.
    """
    with new_folder(folder) as temporary:
        for artifact in artifacts:
            shutil.copyfile(artifact.path, temporary / artifact.name)
        inputs = artifacts[0].path.parent / REFERENCES
        if inputs.is_file():
            shutil.copyfile(inputs, temporary / REFERENCES)
        write_manifest(temporary, artifacts[0].metadata.shared, list(artifacts))
