"""The computation of an artifact of either format."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.errors import ArtifactError
from cxr_edge.inspection.computation import Computation
from cxr_edge.inspection.onnx_computation import computation_of_onnx
from cxr_edge.inspection.tflite_computation import computation_of_tflite


def computation_of(path: Path, kind: ArtifactFormat) -> Computation:
    """Counts of an artifact. Raises ArtifactError, and ModuleNotFoundError without the package to read its format."""
    if kind is ArtifactFormat.ONNX:
        return computation_of_onnx(path)
    try:
        return computation_of_tflite(read_tflite(path.read_bytes()))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
