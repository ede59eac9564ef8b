"""Which bundle and which artifact a command means."""

from __future__ import annotations

import platform
from pathlib import Path

from cxr_edge.bundle import MANIFEST, Artifact, read_bundle
from cxr_edge.errors import ArtifactError, MissingDependencyError
from cxr_edge.runs import find_run
from cxr_edge.runtimes.base import runtimes_for

_PREFERRED_QUANTIZATION = ("int8", "int8-ptq", "fp16", "none")


def find_bundle(bundle: Path | None, run: Path | None = None) -> Path:
    """The named bundle, or the named run's, or this folder if it is one, or the latest run's. Raises RunError."""
    if bundle is not None:
        return bundle
    if run is None and Path(MANIFEST).is_file():
        return Path()
    return find_run(run).bundle


def best_artifact(folder: Path) -> Artifact:
    """The artifact of a bundle to predict with: int8 first, in the format that is faster on this kind of CPU.

    Raises:
        ArtifactError: nothing in the bundle can be run with what is installed here.
    """
    artifacts = read_bundle(folder)
    formats = ("onnx", "tflite") if platform.machine().lower() in ("x86_64", "amd64") else ("tflite", "onnx")
    missing: list[str] = []
    for quantization in _PREFERRED_QUANTIZATION:
        for kind in formats:
            for artifact in artifacts:
                if (artifact.quantization, artifact.format) == (quantization, kind):
                    try:
                        runtimes_for(kind)
                    except MissingDependencyError as error:
                        missing.append(str(error))
                        continue
                    return artifact
    raise ArtifactError(f"{folder}: nothing in it can be run here; {missing[0] if missing else 'it is empty'}")


def warning_about(artifact: Artifact) -> str | None:
    """A line about an artifact whose parity with the Keras model was not shown; None where it was."""
    if artifact.parity is None:
        return f"{artifact.name}: was never verified against the Keras model"
    if artifact.parity["verdict"] != "passed":
        return f"{artifact.name}: its parity verdict is {artifact.parity['verdict']}"
    return None
