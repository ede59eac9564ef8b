"""The computation of an artifact of either format."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.errors import ArtifactError, first_line
from cxr_edge.inspection.computation import Computation
from cxr_edge.inspection.onnx_computation import computation_of_onnx
from cxr_edge.inspection.tflite_computation import computation_of_tflite


def computation_of(path: Path, kind: ArtifactFormat) -> Computation:
    """Count an artifact's computation. Raises ArtifactError, ModuleNotFoundError without its format's package."""
    try:
        if kind is ArtifactFormat.ONNX:
            return computation_of_onnx(path)
        return computation_of_tflite(read_tflite(path.read_bytes()))
    except ModuleNotFoundError:
        raise
    except ArtifactError as error:
        raise ArtifactError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:
        # Even with a sound structure, a forged graph may contain what the count does not expect.
        raise ArtifactError(f"{path}: its operators cannot be counted ({first_line(error)})") from None
