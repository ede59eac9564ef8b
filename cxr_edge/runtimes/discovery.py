"""What artifacts can be run on here: each runtime, and each provider in it."""

from __future__ import annotations

from typing import Any

from cxr_edge.errors import CxrEdgeError, first_line
from cxr_edge.machine import describe_machine
from cxr_edge.runtimes.base import every_runtime


def devices() -> dict[str, Any]:
    """JSON-ready: `machine`, and `runtimes`, a row each with `option` (its name for --runtime), `title`, `formats`,
    `version` (None where not installed), and `missing`: why it cannot be used, None where nothing is known against it.
    """
    rows = []
    for runtime in every_runtime():
        version = reason = None
        try:
            adapter = runtime.module()
            version, reason = adapter.version(), adapter.missing(runtime.provider)
        except CxrEdgeError as error:
            reason = str(error)
        except Exception as error:
            # Installed, and its libraries do not load.
            reason = f"cannot be imported ({first_line(error)})"
        row = {"option": runtime.option, "title": runtime.title, "formats": list(runtime.formats)}
        rows.append({**row, "version": version, "missing": reason})
    return {"machine": describe_machine(), "runtimes": rows}
