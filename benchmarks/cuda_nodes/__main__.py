"""How many nodes of a bundle's ONNX files ONNX Runtime's CUDA provider takes, and how many it leaves to the CPU.

    python -m benchmarks.cuda_nodes --bundle DIR [--work DIR] [--json FILE]

The provider itself assigns the nodes, as it does for a GPU, while a session starts: nothing is computed, and no GPU is
needed. Libraries of a few lines stand in for CUDA's, so this needs gcc and binutils, on Linux. The first run fetches
onnxruntime-gpu by pip, of the version of the onnxruntime that is installed: 255 MB, kept in the work folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.cuda_nodes.stand_in import build_stand_ins
from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.errors import ArtifactError, CxrEdgeError
from cxr_edge.files import write_json
from cxr_edge.reporting.terminal.tables import show, show_table
from cxr_edge.runtimes.selection import artifacts_of_bundle

HOW = "assigned by the CUDA provider without a GPU; nothing was computed"
_PROVIDER = Path("onnxruntime", "capi", "libonnxruntime_providers_cuda.so")


def fetched(work: Path, version: str) -> Path:
    """A folder with onnxruntime-gpu of that version, beside whatever is installed."""
    packages = work / f"onnxruntime-gpu-{version}"
    if not (packages / _PROVIDER).is_file():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages)]
        subprocess.run([*install, f"onnxruntime-gpu=={version}"], check=True)
    return packages


def counted_nodes(artifact: Artifact, packages: Path, libraries: Path) -> dict[str, Any]:
    """A row of the record: the nodes on each provider, by operator. Raises ArtifactError if no session starts."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "LD_LIBRARY_PATH": str(libraries)}
    count = [sys.executable, str(Path(__file__).with_name("count.py")), str(artifact.path)]
    done = subprocess.run(count, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ArtifactError(f"{artifact.path}: {done.stderr.strip()}")
    return {
        "artifact": artifact.name,
        "sha256": artifact.sha256,
        "quantization": artifact.quantization,
        "image_size": artifact.image_size,
        "nodes": json.loads(done.stdout),
    }


def measured(bundle: Path, work: Path) -> dict[str, Any]:
    """The record of a bundle's ONNX files. Raises CxrEdgeError if the bundle cannot be used."""
    version = metadata.version("onnxruntime")
    artifacts = [own for own in artifacts_of_bundle(bundle).artifacts if own.format is ArtifactFormat.ONNX]
    packages = fetched(work, version)
    with tempfile.TemporaryDirectory() as folder:
        build_stand_ins(packages / _PROVIDER, Path(folder))
        rows = [counted_nodes(artifact, packages, Path(folder)) for artifact in artifacts]
    return {
        "cxr_edge": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "onnxruntime_gpu": version,
        "how": HOW,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cuda_nodes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--work", type=Path, default=Path(".cuda"), metavar="DIR", help="what is fetched (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        record = measured(arguments.bundle, arguments.work)
    except CxrEdgeError as error:
        sys.exit(f"error: {error}")
    lines = [
        [row["artifact"], provider, ", ".join(f"{count} {operator}" for operator, count in nodes.items())]
        for row in record["rows"]
        for provider, nodes in row["nodes"].items()
    ]
    show_table(f"onnxruntime-gpu {record['onnxruntime_gpu']}", ["artifact", "on", "nodes"], lines, texts=3)
    show(HOW)
    if arguments.json:
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
