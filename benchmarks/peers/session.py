"""Other tools' files, which are not artifacts, on our runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.contract import PROBABILITIES
from cxr_edge.runtimes.base import Session, runtime_named
from cxr_edge.runtimes.litert_runtime import LiteRTSession


class _BySignature(LiteRTSession):
    """Of a TFLite file whose signature names the outputs, perhaps after a layer, and whose tensors do not."""

    def _outputs(self) -> Mapping[str, Any]:
        details = self._interpreter.get_signature_runner().get_output_details()
        return {PROBABILITIES: next(detail for name, detail in details.items() if name.startswith(PROBABILITIES))}


def peer_session(runtime: str, path: Path, threads: int) -> Session:
    """Load a peer's file on a runtime by its `name`. `Runtime.load` would demand an artifact of ours.

    Raises:
        ArtifactError: the runtime cannot read the file.
        Exception: whatever LiteRT raises about the file.
    """
    own = runtime_named(runtime)
    if path.suffix == ".tflite" and own.name == "litert":
        own.prepare()
        return _BySignature(path, threads)
    return own.load_here(path, threads)
