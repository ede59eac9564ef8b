"""`cxr-edge inspect`: what an artifact says of itself, and what its graph says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr_edge.artifacts.artifact import format_of, read_artifact
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.errors import ArtifactError, MissingDependencyError, extra_with
from cxr_edge.files import sha256_of
from cxr_edge.inspection.delegate import delegate_report
from cxr_edge.inspection.operators import computation_of
from cxr_edge.records import to_json


def inspect(path: Path) -> dict[str, Any]:
    """JSON-ready description of a TFLite or ONNX file.

    `metadata` is None for a file of another tool. `computation` is None, with the reason under `missing`, where the
    packages to look into the graph are not installed.

    Raises:
        ArtifactError: no such file, or neither a TFLite nor an ONNX model.
    """
    kind = format_of(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such artifact")
    metadata: ArtifactMetadata | None
    try:
        metadata = read_artifact(path).metadata
        claimed = metadata.quantization
    except ArtifactError:
        # A file of another tool is judged by the name that it goes by.
        metadata = None
        claimed = Quantization.INT8 if Quantization.INT8 in path.name.lower() else Quantization.FLOAT32
    found: dict[str, Any] = {
        "file": path.name,
        "format": str(kind),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "claims": str(claimed),
        "metadata": None if metadata is None else to_json(metadata),
        "computation": None,
        "delegate": None,
    }
    try:
        counts = computation_of(path, kind)
        if kind == "tflite":
            found["delegate"] = delegate_report(path)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            raise
        found["missing"] = str(MissingDependencyError(str(error.name), extra))
        return found
    found["computation"] = {
        "verdict": counts.verdict(claimed),
        "integer_share": counts.integer_share,
        "integer_macs": counts.integer_macs,
        "float_macs": counts.float_macs,
        "float_operators": counts.float_operators,
        "integer_convolutions": counts.integer_convolutions,
        "float_convolutions": counts.float_convolutions,
        # In int8 their kernels would be a quarter.
        "extra_bytes": counts.float_kernel_bytes * 3 // 4,
        "weight_bytes": dict(counts.weight_bytes),
        "operators": dict(counts.operators.most_common()),
    }
    return found
