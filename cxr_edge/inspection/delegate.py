"""What LiteRT's delegate takes over of a TFLite file, here and now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr_edge.console import quiet


def delegate_report(path: Path) -> dict[str, Any]:
    """Load a TFLite file as `predict` does and look which operators XNNPACK replaced.

    Returns:
        JSON-ready: `delegate`, `operators` of the file, `taken` by the delegate, in how many `pieces`, and the kinds of
        those `left` to LiteRT's own kernels.

    Raises:
        ModuleNotFoundError: LiteRT is not installed.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    pieces = [operator for operator in operators if operator["op_name"] == "DELEGATE"]
    own = [operator for operator in operators if operator["op_name"] != "DELEGATE"]
    producers = {int(output): operator for operator in own for output in operator["outputs"]}
    taken: set[int] = set()
    for piece in pieces:
        entries = {int(tensor) for tensor in piece["inputs"]}
        pending = [int(tensor) for tensor in piece["outputs"]]
        while pending:
            operator = producers.get(pending.pop())
            if operator is not None and operator["index"] not in taken:
                taken.add(operator["index"])
                pending += [int(tensor) for tensor in operator["inputs"] if int(tensor) not in entries]
    left = [operator["op_name"] for operator in own if operator["index"] not in taken]
    return {
        "delegate": "XNNPACK",
        "operators": len(own),
        "taken": len(taken),
        "pieces": len(pieces),
        "left": sorted(set(left)),
    }
