"""Refuse files that a runtime should not see."""

from __future__ import annotations

import mmap
from pathlib import Path

from cxr_edge.artifacts.artifact import read_metadata, require_artifact_file
from cxr_edge.artifacts.contract import ANY, Contract, TensorSpec
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.errors import ArtifactError
from cxr_edge.structure.graph import GraphStructure, require

#: Characters: five names with escapes would otherwise take thousands.
_MAX_REASON = 400


def structure_of(path: Path) -> GraphStructure:
    """The structure of a TFLite or ONNX file, from this project or another tool.

    Raises:
        ArtifactError: the file is missing or damaged, its weights are in another file, or it exceeds a limit.
    """
    kind = require_artifact_file(path)
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as data,
        ):
            return _structure_in(data, kind)
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path}: a damaged or forged file ({_escaped(error)}); export or copy it again") from None


def _structure_in(data: memoryview, kind: ArtifactFormat) -> GraphStructure:
    # Imported lazily: a prediction needs only one of the two.
    if kind is ArtifactFormat.TFLITE:
        from cxr_edge.structure.tflite import tflite_structure

        return tflite_structure(data)
    from cxr_edge.structure.onnx import onnx_structure

    return onnx_structure(data)


def require_sound(path: Path) -> None:
    """Refuse a file before a runtime parses it.

    A file with an artifact's metadata must have the inputs and outputs stated there, and only known operators. For a
    file from another tool, only the structure is checked.

    Raises:
        ArtifactError: as `structure_of`, or the graph contradicts the metadata.
    """
    structure = structure_of(path)
    try:
        metadata = read_metadata(path)
    except ArtifactError:
        # From another tool, or still being exported.
        return
    try:
        unknown = sorted(structure.unknown_operators)
        require(not unknown, f"operators that no artifact has: {', '.join(unknown[:5])}")
        _require_ends(structure, metadata.contract)
    except ValueError as error:
        raise ArtifactError(f"{path}: {_escaped(error)}; export it again") from None


def _escaped(error: Exception) -> str:
    """A message on one short line: names in a file may be long, and contain any character."""
    return str(error).encode("unicode_escape").decode("ascii")[:_MAX_REASON]


def _require_ends(structure: GraphStructure, contract: Contract) -> None:
    specs = (contract.probabilities, *([contract.heatmap] if contract.heatmap else []))
    require(len(structure.inputs) == 1, f"{len(structure.inputs)} inputs, not one")
    outputs = {output.name: output for output in structure.outputs}
    require(len(outputs) == len(specs), f"{len(outputs)} outputs, not {len(specs)}")
    _require_end(structure.inputs[0], contract.image)
    for end in specs:
        require(end.name in outputs, f"no output is called {end.name}")
        _require_end(outputs[end.name], end)


def _require_end(end: TensorSpec, spec: TensorSpec) -> None:
    """Check an input or output, except for the number of images and sizes that the graph leaves dynamic."""
    sizes = zip(end.shape[1:], spec.shape[1:], strict=False)
    fits = len(end.shape) == len(spec.shape) and all(size in (ANY, expected) for size, expected in sizes)
    same = (end.name, end.type) == (spec.name, spec.type)
    require(same and fits, f"{end.name[:60]} is {end.type} {end.shape}, its metadata says {spec.type} {spec.shape}")
