"""Chest X-ray classifiers from a folder of images to int8 on a device at the edge.

`docs/python-api.md` shows the public API, the names in `__all__`. Each name is imported on first use, so importing the
package is fast.
"""

from __future__ import annotations

import os
import sys

# Type checkers know the name, and importing `typing` takes longer than everything imported here, as does `importlib`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cxr_edge.api import audit, cascade, export, open_bundle, shrink, train, verify
    from cxr_edge.artifacts.metadata import NOTICE
    from cxr_edge.errors import (
        ArtifactError,
        CxrEdgeError,
        DataError,
        GateError,
        ImageError,
        MissingDependencyError,
        OptionError,
        ProviderError,
    )
    from cxr_edge.prediction.classifier import Classifier
    from cxr_edge.prediction.prediction import Prediction, SkippedImage

__version__ = "0.1.0"
__all__ = [
    "NOTICE",
    "ArtifactError",
    "Classifier",
    "CxrEdgeError",
    "DataError",
    "GateError",
    "ImageError",
    "MissingDependencyError",
    "OptionError",
    "Prediction",
    "ProviderError",
    "SkippedImage",
    "__version__",
    "audit",
    "cascade",
    "export",
    "open_bundle",
    "shrink",
    "train",
    "verify",
]

# No runtime sends telemetry from a device: it is switched off here, before one is imported (docs/telemetry.md).
# Importing OpenVINO writes an identifier to `~/intel` and reports to Google Analytics; a session of ONNX Runtime 1.31
# keeps an identifier and a queue of events in `~/.cache/Microsoft/DeveloperTools` and sends them to Microsoft. On the
# workstation, MLflow reports which of its functions are called. Not `setdefault`: nothing that a user sets by accident
# should make a medical device talk.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# OpenVINO has no switch, but works without the package if it cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_MODULES = {
    "api": ("audit", "cascade", "export", "open_bundle", "shrink", "train", "verify"),
    "artifacts.metadata": ("NOTICE",),
    "errors": (
        "ArtifactError",
        "CxrEdgeError",
        "DataError",
        "GateError",
        "ImageError",
        "MissingDependencyError",
        "OptionError",
        "ProviderError",
    ),
    "prediction.classifier": ("Classifier",),
    "prediction.prediction": ("Prediction", "SkippedImage"),
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"cxr_edge.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
