"""Working artifacts of four operators and a bundle of them: what runs artifacts is tested without training a model."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.artifacts.artifact import METADATA_ENTRY, METADATA_KEY, Artifact, format_of, read_artifact
from cxr_edge.artifacts.bundle import REFERENCES, write_cascade_manifest, write_manifest
from cxr_edge.artifacts.cascade import SMALL_REFERENCES
from cxr_edge.artifacts.contract import IMAGE, PROBABILITIES, contract
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata, CascadeEntry, ReferenceOutputs
from cxr_edge.evaluation.cascade_fit import CascadeFigures, CascadeFit
from cxr_edge.evaluation.promise import Promise
from cxr_edge.evaluation.reference_images import packed, reference_images
from cxr_edge.exporting.seal import sealed
from cxr_edge.files import sha256_of
from cxr_edge.records import to_json
from tests.artifacts import some_metadata

SIZE = 71
#: Logits are these times the mean grey value, `[K]`: black says all alike, white the first class.
WEIGHTS = np.float32([0.02, 0.01, 0.0])


def expected(images: np.ndarray, weights: NDArray[np.float32] = WEIGHTS) -> np.ndarray:
    """The probabilities `[N, K]` that a tiny artifact gives."""
    logits = images.astype(np.float32).mean(axis=(1, 2)) * weights
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def _tflite(size: int, weights: NDArray[np.float32]) -> bytes:
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [], [schema.BufferT()]
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: list[int], kind: int, data: np.ndarray | None = None) -> int:
        added, buffer = schema.TensorT(), schema.BufferT()
        if data is not None:
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        model.buffers.append(buffer)
        added.name, added.shape, added.type, added.buffer = name, shape, kind, len(model.buffers) - 1
        if data is None:
            added.shapeSignature = [-1, *shape[1:]]
        graph.tensors.append(added)
        return len(graph.tensors) - 1

    def operator(code: int, inputs: list[int], output: int, options: Any, kind: int) -> None:
        added, known = schema.OperatorT(), schema.OperatorCodeT()
        known.builtinCode = known.deprecatedBuiltinCode = code
        model.operatorCodes.append(known)
        added.opcodeIndex, added.inputs, added.outputs = len(model.operatorCodes) - 1, inputs, [output]
        added.builtinOptions, added.builtinOptionsType = options, kind
        graph.operators.append(added)

    real, builtin, options = schema.TensorType.FLOAT32, schema.BuiltinOperator, schema.BuiltinOptions
    image = tensor(IMAGE, [1, size, size, 1], schema.TensorType.UINT8)
    cast = tensor("cast", [1, size, size, 1], real)
    axes = tensor("axes", [2], schema.TensorType.INT32, np.int32([1, 2]))
    mean, logits = tensor("mean", [1, 1], real), tensor("logits", [1, 3], real)
    kernel = tensor("weights", [3, 1], real, weights[:, None])
    probabilities = tensor(PROBABILITIES, [1, 3], real)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    operator(builtin.CAST, [image], cast, schema.CastOptionsT(), options.CastOptions)
    operator(builtin.MEAN, [cast, axes], mean, schema.ReducerOptionsT(), options.ReducerOptions)
    operator(
        builtin.FULLY_CONNECTED,
        [mean, kernel, -1],
        logits,
        schema.FullyConnectedOptionsT(),
        options.FullyConnectedOptions,
    )
    operator(builtin.SOFTMAX, [logits], probabilities, softmax, options.SoftmaxOptions)
    graph.inputs, graph.outputs = [image], [probabilities]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _onnx(size: int, weights: NDArray[np.float32]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", [IMAGE], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["cast"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", size, size, 1])],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(weights[None, :], "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@cache
def drawn_references() -> NDArray[np.uint8]:
    """The reference inputs, drawn once: more than half a second."""
    return reference_images(SIZE)


def _references(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {"reference_outputs": None, "reference_sha256": None}
    images = drawn_references()
    (folder / REFERENCES).write_bytes(packed(images))
    outputs = tuple(map(tuple, expected(images).reshape(len(images), 3).tolist()))
    return {
        "reference_outputs": ReferenceOutputs("ONNX Runtime", outputs, outputs),
        "reference_sha256": sha256_of(folder / REFERENCES),
    }


def write_artifact(
    path: Path,
    quantization: Quantization,
    references_in: Path | None = None,
    size: int = SIZE,
    weights: NDArray[np.float32] = WEIGHTS,
    **changes: Any,
) -> Artifact:
    """A working artifact, TFLite or ONNX by its suffix, computed in float regardless of its declared quantization.

    With a folder for the reference inputs, it has outputs for them; `changes` are fields of its metadata.
    """
    kind = format_of(path)
    metadata = some_metadata(
        format=kind,
        quantization=quantization,
        contract=contract(size, 3),
        **{**_references(references_in), **changes},
    )
    text = json.dumps(to_json(metadata))
    if kind is ArtifactFormat.TFLITE:
        path.write_bytes(_tflite(size, weights))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(METADATA_ENTRY, text)
    else:
        model = _onnx(size, weights)
        model.metadata_props.add(key=METADATA_KEY, value=text)
        onnx.save(model, path)
    return read_artifact(path)


def resealed(artifact: Artifact, metadata: ArtifactMetadata) -> Artifact:
    """An artifact whose file holds other metadata than before."""
    content = artifact.path.read_bytes()
    if artifact.format is ArtifactFormat.ONNX:
        model = onnx.ModelProto.FromString(content)
        del model.metadata_props[:]
        content = model.SerializeToString()
    # Of two zips at the end of a file the last counts.
    artifact.path.write_bytes(sealed(content, metadata))
    return read_artifact(artifact.path)


def write_bundle(folder: Path, references: bool = False) -> Path:
    """float32, fp16 and int8 in both formats; with reference inputs and outputs, or without."""
    folder.mkdir()
    artifacts = [
        write_artifact(folder / f"xception-{quantization}.{kind}", quantization, folder if references else None)
        for quantization in (Quantization.FLOAT32, Quantization.FP16, Quantization.INT8)
        for kind in ArtifactFormat
    ]
    write_manifest(folder, artifacts[0].metadata.shared, artifacts)
    return folder


def write_bundle_with_references(folder: Path, temperature: float = 1.0, right: bool = True) -> Path:
    """int8 in both formats, with reference inputs and what the artifacts compute for them.

    Args:
        folder: made.
        temperature: what the metadata say of it: another one is another model.
        right: whether what is recorded is what they compute.
    """
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 1), dtype=np.uint8)
    (folder / REFERENCES).write_bytes(packed(images))
    outputs = expected(images) if right else expected(images)[:, ::-1]
    rows = tuple(map(tuple, outputs.astype(float).tolist()))
    artifacts = []
    for kind in ArtifactFormat:
        artifact = write_artifact(folder / f"xception-int8.{kind}", Quantization.INT8)
        metadata = replace(
            artifact.metadata,
            temperature=temperature,
            reference_sha256=sha256_of(folder / REFERENCES),
            reference_outputs=ReferenceOutputs("ONNX Runtime", rows, rows),
        )
        artifacts.append(resealed(artifact, metadata))
    write_manifest(folder, artifacts[0].metadata.shared, artifacts)
    return folder


def ramp() -> NDArray[np.uint8]:
    """uint8 `[80, 80]`, grey from black to white: not refused, as a picture of one grey is."""
    return np.tile(np.linspace(0, 255, 80).astype(np.uint8), (80, 1))


#: Of the full model in `write_cascade`, which is larger and prefers the class that the small one likes least.
FULL_SIZE, FULL_WEIGHTS = 96, np.float32([0.0, 0.01, 0.02])
#: Grey values of the reference inputs in `write_cascade`, and the threshold between the second and the third of them.
GREYS, THRESHOLD = (0, 60, 120, 255), 0.6


def grey(size: int, value: int) -> NDArray[np.uint8]:
    """uint8 `[1, size, size, 1]` of one value."""
    return np.full((1, size, size, 1), value, np.uint8)


def write_cascade(folder: Path, kind: ArtifactFormat = ArtifactFormat.TFLITE, right: bool = True) -> Path:
    """The bundle of a cascade of two tiny models, which answers dark images with the full one.

    Args:
        folder: made.
        kind: of both files.
        right: whether what is recorded of the full model is what it computes.
    """
    folder.mkdir()
    members = []
    for name, size, weights, references in (
        ("small", SIZE, WEIGHTS, SMALL_REFERENCES),
        ("full", FULL_SIZE, FULL_WEIGHTS, REFERENCES),
    ):
        images = np.concatenate([grey(size, value) for value in GREYS])
        (folder / references).write_bytes(packed(images))
        outputs = expected(images, weights if right or name == "small" else weights[::-1])
        rows = tuple(map(tuple, outputs.astype(float).tolist()))
        members.append(
            write_artifact(
                folder / f"{name}-int8.{kind}",
                Quantization.INT8,
                size=size,
                weights=weights,
                reference_outputs=ReferenceOutputs("ONNX Runtime", rows, rows),
                reference_sha256=sha256_of(folder / references),
            )
        )
    small, full = members
    figures = CascadeFigures(images=400, escalated=100, differing=0, right=390, full_right=390, missed=1, full_missed=1)
    fit = CascadeFit(THRESHOLD, Promise.by_order_statistic(400, 0.005), None, figures, figures)
    assert full.parity is not None
    write_cascade_manifest(
        folder,
        CascadeEntry(small=small.name, full=full.name, threshold=THRESHOLD, fitted=to_json(fit), parity=full.parity),
        small,
        full,
    )
    return folder
