"""Keep the runtimes from sending telemetry from a device: it is switched off before they are imported.

Importing OpenVINO writes an identifier to `~/intel` and reports to Google Analytics; a session of ONNX Runtime 1.31
keeps an identifier and a queue of events in `~/.cache/Microsoft/DeveloperTools` and sends them to Microsoft. On the
workstation, MLflow reports which of its functions are called.
"""

from __future__ import annotations

import os
import sys


def switch_off_telemetry() -> None:
    """Call it before the first import of a runtime; affects this process and those that it starts."""
    # Not `setdefault`: nothing that a user sets by accident should make a medical device talk.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # OpenVINO has no switch, but works without the package if it cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
