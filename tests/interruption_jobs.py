"""Jobs that test_interruption kills in a process of their own, each with what it says of the folder it left."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_edge.artifacts.bundle import MANIFEST, REFERENCES, listed_artifacts, read_bundle, read_manifest
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.artifacts.publishing import publish
from cxr_edge.data.layouts import image_files
from cxr_edge.data.store import ImageStore
from cxr_edge.errors import CxrEdgeError
from cxr_edge.files import remove_partial_files, sha256_of, write_json
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.records import to_json
from tests.artifacts import some_metadata, write_stub

WHOLE = "whole"


@cache
def _artifact(turn: int) -> tuple[str, bytes, ArtifactMetadata, bytes]:
    """Name, content, metadata and reference inputs; every third one is of another model."""
    references = bytes([turn % 3 == 0]) * 100_000
    name = f"xception-{('int8', 'float32')[turn % 2]}.onnx"
    metadata = some_metadata(
        format="onnx",
        quantization=("int8", "float32")[turn % 2],
        temperature=1.0 + (turn % 3 == 0),
        reference_sha256=hashlib.sha256(references).hexdigest(),
    )
    with tempfile.TemporaryDirectory() as folder:
        return name, write_stub(Path(folder) / name, to_json(metadata)).read_bytes(), metadata, references


def publish_one(folder: Path, turn: int) -> None:
    remove_partial_files(folder)
    name, content, metadata, references = _artifact(turn % 6)
    publish(folder / name, content, metadata, references)


def publish_again(folder: Path, turn: int) -> None:
    """Two artifacts of one model, in turn, each with another content than last time; first whichever is not listed."""
    listed = [artifact.name for artifact in listed_artifacts(folder)] if (folder / MANIFEST).exists() else []
    missing = [number for number in (1, 2) if _artifact(number)[0] not in listed]
    for number in missing or (1 + turn % 2,):
        name, _, metadata, references = _artifact(number)
        metadata = replace(metadata, packages={"turn": str(turn)})
        with tempfile.TemporaryDirectory() as elsewhere:
            content = write_stub(Path(elsewhere) / name, to_json(metadata)).read_bytes()
        publish(folder / name, content, metadata, references)


def bundle_verdict(folder: Path) -> str:
    if not (folder / MANIFEST).exists():
        return "no manifest"
    try:
        read_bundle(folder)
        if sha256_of(folder / REFERENCES) != read_manifest(folder).shared.reference_sha256:
            return "other references"
    except CxrEdgeError as error:
        return str(error)
    return WHOLE


def write_record(folder: Path, turn: int) -> None:
    remove_partial_files(folder)
    write_json(folder / "record.json", {"rows": [turn] * 20_000})


def record_verdict(folder: Path) -> str:
    rows = json.loads((folder / "record.json").read_text())["rows"]
    return WHOLE if len(rows) == 20_000 and len(set(rows)) == 1 else "torn"


def decode_images(folder: Path, turn: int) -> None:
    """Into a cache beside the images."""
    os.environ["CXR_EDGE_CACHE"] = str(folder / "cache")
    for index in range(turn * 4, turn * 4 + 4):
        path = folder / f"{index}.png"
        if not path.exists():
            Image.fromarray(np.random.default_rng(index).integers(0, 256, (90, 90), dtype=np.uint8)).save(path)
    ImageStore(71, STRETCH).add([folder / f"{index}.png" for index in range(turn * 4, turn * 4 + 4)])


def cache_verdict(folder: Path) -> str:
    store = ImageStore(71, STRETCH)
    digests = [digest for path in image_files(folder) if not store.lacks([digest := sha256_of(path)])]
    try:
        return WHOLE if len(store.images(digests)[:]) == len(digests) else "lost"
    except CxrEdgeError as error:
        return str(error)


Job = Callable[[Path, int], None]
JOBS: dict[str, tuple[Job, Callable[[Path], str]]] = {
    "publish": (publish_one, bundle_verdict),
    "publish again": (publish_again, bundle_verdict),
    "record": (write_record, record_verdict),
    "cache": (decode_images, cache_verdict),
}
