"""How fast the page answers in a browser: `python -m benchmarks.web_speed --bundle BUNDLE --json FILE`.

The bundle's int8 ONNX file in headless Chromium, by the page's own benchmark: WebAssembly on one thread and on several,
in turn. With --image-size, the same network for images of another size, which tells its time and nothing else. The
record is that of `cxr-edge bench --json`. Needs the page that `make web` builds, Node.js and Chromium, and a machine
with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.image_size import with_image_size
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.benchmarking.record import BenchWarning, WarningKind
from cxr_edge.errors import ArtifactError, CxrEdgeError
from cxr_edge.files import write_json
from cxr_edge.machine import describe_machine
from cxr_edge.records import to_json
from cxr_edge.runtimes.selection import artifacts_of_bundle, best_of
from cxr_edge.web.folder import write_page
from cxr_edge.web.page import built_page
from cxr_edge.web.server import PageServer
from cxr_edge.wording import counted

USER = Path(__file__).parents[1] / "web" / "tests" / "page.mjs"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a page while it is served."""
    server = PageServer(folder, 0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.url
    finally:
        server.close()
        thread.join()


def int8_of(bundle: Path) -> Artifact:
    """The best int8 ONNX file of a bundle. Raises ArtifactError if it has none."""
    able = [
        artifact
        for artifact in artifacts_of_bundle(bundle).artifacts
        if artifact.format is ArtifactFormat.ONNX and artifact.quantization.is_integer
    ]
    if not able:
        raise ArtifactError(f"{bundle}: no int8 ONNX file in it; cxr-edge export --recipe browser writes one")
    return best_of(able)[0]


def measured(artifact: Artifact, folder: Path, node: str, chromium: str) -> dict[str, Any]:
    """The record of an int8 ONNX file; `folder` is one to work in.

    Raises:
        ArtifactError: the page could not be used.
    """
    # Without a float file there is nothing for WebGPU, which would be SwiftShader here.
    write_page(built_page(), (artifact,), folder / "page")
    task = {"chromium": chromium, "steps": ["load", "benchmark"], "files": [], "downloads": str(folder)}
    with served(folder / "page") as url:
        (folder / "task.json").write_text(json.dumps({**task, "url": url}))
        done = subprocess.run([node, str(USER), str(folder / "task.json")], capture_output=True, text=True)
    if done.returncode:
        raise ArtifactError(f"{artifact.path}: the page could not be measured: {done.stderr.strip()}")
    record: dict[str, Any] = json.loads((folder / "bench.json").read_text())
    # What a browser does not say.
    own = to_json(describe_machine())
    machine = {**record["machine"], **{key: own[key] for key in ("cpu", "instruction_sets", "memory_bytes")}}
    return {**record, "command": ["python", "-m", "benchmarks.web_speed"], "machine": machine}


def measured_for_size(artifact: Artifact, size: int, folder: Path, node: str, chromium: str) -> dict[str, Any]:
    """As `measured`, of the same network for images of another size; a warning in the record says so."""
    record = measured(with_image_size(artifact, size, folder / "bundle"), folder, node, chromium)
    text = f"the network of a model for {artifact.image_size} px, taking images of {size} px: its time, not its answers"
    warning = BenchWarning(WarningKind.DOUBTFUL, artifact.name, text)
    return {**record, "warnings": [*record["warnings"], to_json(warning)]}


def programs() -> tuple[str, str]:
    """Where Node.js and Chromium are. Exits with an error if one is missing."""
    node, chromium = shutil.which("node"), next(filter(None, map(shutil.which, CHROMIUM)), None)
    if node is None or chromium is None:
        sys.exit("error: Node.js and Chromium are needed")
    return node, chromium


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help="default: what the model was trained for")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    node, chromium = programs()
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifact, size = int8_of(arguments.bundle), arguments.image_size
            if size is None or size == artifact.image_size:
                record = measured(artifact, Path(folder), node, chromium)
            else:
                record = measured_for_size(artifact, size, Path(folder), node, chromium)
        except CxrEdgeError as error:
            sys.exit(f"error: {error}")
    for row in record["rows"]:
        threads = counted(row["threads"], "thread")
        print(f"{row['artifact']}, {threads}: p50 {row['p50_ms']:.1f} ms, p90 {row['p90_ms']:.1f} ms")
    if arguments.json:
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
