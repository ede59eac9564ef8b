"""What LiteRT's delegate takes over of a TFLite file, here and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.console import quiet
from cxr_edge.errors import ArtifactError, first_line


@dataclass(frozen=True)
class DelegateReport:
    """What a delegate replaced of a file's operators.

    Attributes:
        delegate: its name.
        operators: how many the file has.
        taken: how many of them the delegate took.
        pieces: of the graph, each of which it runs as a whole.
        left: kinds of operators that LiteRT's own kernels run.
    """

    delegate: str
    operators: int
    taken: int
    pieces: int
    left: tuple[str, ...]


def delegate_report(path: Path) -> DelegateReport:
    """Load a TFLite file as `predict` does and look which operators XNNPACK replaced.

    Raises:
        ArtifactError: LiteRT cannot load it.
        ModuleNotFoundError: LiteRT is not installed.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path))
            interpreter.allocate_tensors()
    except Exception as error:
        # LiteRT raises RuntimeError and ValueError alike.
        raise ArtifactError(f"{path}: LiteRT cannot load it ({first_line(error)})") from None
    details = interpreter._get_ops_details()
    pieces = [operator for operator in details if operator["op_name"] == "DELEGATE"]
    operators = [operator for operator in details if operator["op_name"] != "DELEGATE"]
    taken = _taken(operators, pieces)
    left = {operator["op_name"] for operator in operators if operator["index"] not in taken}
    return DelegateReport("XNNPACK", len(operators), len(taken), len(pieces), tuple(sorted(left)))


def _taken(operators: Sequence[Mapping[str, Any]], pieces: Sequence[Mapping[str, Any]]) -> set[int]:
    """Indices of the operators between the inputs and the outputs of the delegate's pieces."""
    producers = {int(output): operator for operator in operators for output in operator["outputs"]}
    taken: set[int] = set()
    for piece in pieces:
        entries = {int(tensor) for tensor in piece["inputs"]}
        pending = [int(tensor) for tensor in piece["outputs"]]
        while pending:
            operator = producers.get(pending.pop())
            if operator is not None and operator["index"] not in taken:
                taken.add(operator["index"])
                pending += [int(tensor) for tensor in operator["inputs"] if int(tensor) not in entries]
    return taken
