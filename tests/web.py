"""What tests of the page share: whether it can be built and shown here, and a bundle that it can answer with."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.artifacts.bundle import REFERENCES, write_manifest
from cxr_edge.artifacts.contract import HEATMAP, IMAGE, PROBABILITIES, contract
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ReferenceOutputs
from cxr_edge.evaluation.operating import OperatingPoint
from cxr_edge.evaluation.reference_images import packed, reference_images
from cxr_edge.exporting.seal import sealed
from cxr_edge.files import sha256_of
from cxr_edge.records import to_json
from cxr_edge.web.page import PACKAGE
from tests.artifacts import some_metadata

WEB = Path(__file__).parents[1] / "web"
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZE = 71
#: By these, black is Normal, white COVID-19, and grey is near to either.
WEIGHTS = np.float32([0.06, 0.03, 0.0])
BIAS = np.float32([-8.0, -3.5, 0.0])

needs_sources = pytest.mark.skipif(
    NODE is None or not (WEB / "node_modules").is_dir(), reason="needs Node.js and the packages that make web installs"
)
needs_page = pytest.mark.skipif(
    not (WEB / PACKAGE / "files.json").is_file(), reason="needs the page that make web builds"
)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def _model() -> bytes:
    """A heat map of 3 x 3 places by their brightness, and its mean through a softmax."""
    nodes = [
        helper.make_node("Cast", [IMAGE], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["places"], kernel_shape=[23, 23], strides=[24, 24]),
        helper.make_node("Transpose", ["places"], ["grey"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["grey", "weights"], ["evidence"]),
        helper.make_node("Add", ["evidence", "bias"], [HEATMAP]),
        helper.make_node("ReduceMean", [HEATMAP], ["logits"], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", ["logits"], [PROBABILITIES], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "places",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", SIZE, SIZE, 1])],
        [
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info(HEATMAP, TensorProto.FLOAT, ["N", 3, 3, 3]),
        ],
        [numpy_helper.from_array(WEIGHTS[None, :], "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_web_bundle(folder: Path) -> Path:
    """int8 and float32 ONNX with heat maps, a decision rule and reference outputs; float whatever they say."""
    import onnxruntime

    folder.mkdir()
    images = reference_images(SIZE)
    (folder / REFERENCES).write_bytes(packed(images))
    session = onnxruntime.InferenceSession(_model(), providers=["CPUExecutionProvider"])
    rows = tuple(map(tuple, session.run([PROBABILITIES], {IMAGE: images})[0].astype(float).tolist()))
    point = to_json(OperatingPoint("COVID-19", 0.3, 0.6))
    artifacts: list[Artifact] = []
    for quantization in (Quantization.INT8, Quantization.FLOAT32):
        metadata = some_metadata(
            format=ArtifactFormat.ONNX,
            quantization=quantization,
            contract=contract(SIZE, 3, heatmap=True),
            operating_point=json.loads(json.dumps(point)),
            reference_outputs=ReferenceOutputs("ONNX Runtime", rows, rows),
            reference_sha256=sha256_of(folder / REFERENCES),
        )
        path = folder / f"xception-{quantization}.onnx"
        path.write_bytes(sealed(_model(), metadata))
        artifacts.append(read_artifact(path))
    write_manifest(folder, artifacts[0].metadata.shared, artifacts)
    return folder


@contextmanager
def served_plainly(folder: Path) -> Iterator[str]:
    """By a server that sets no headers of its own."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def used(
    url: str, folder: Path, *steps: str, files: list[Path] | None = None, **others: str | list[str]
) -> dict[str, Any]:
    """What was seen of the page after some of the steps of web/tests/page.mjs."""
    (folder / "downloads").mkdir(exist_ok=True)
    task = {
        "url": url,
        "chromium": CHROMIUM,
        "steps": steps,
        "files": list(map(str, files or [])),
        "downloads": str(folder / "downloads"),
        **others,
    }
    (folder / "task.json").write_text(json.dumps(task))
    command = [str(NODE), str(WEB / "tests" / "page.mjs"), str(folder / "task.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
