"""Which part of a TFLite file LiteRT's delegate takes over on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.console import quiet
from cxr_edge.errors import ArtifactError, first_line


@dataclass(frozen=True)
class DelegateReport:
    """Which of a file's operators a delegate replaced.

    Attributes:
        delegate: its name.
        operators: number of operators in the file.
        taken: number of those taken by the delegate.
        pieces: number of subgraphs that it runs as a whole.
        left: kinds of operators left to LiteRT's own kernels.
    """

    delegate: str
    operators: int
    taken: int
    pieces: int
    left: tuple[str, ...]


def delegate_report(path: Path) -> DelegateReport:
    """Load a TFLite file as `predict` does and see which operators XNNPACK replaced.

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
        # LiteRT raises either RuntimeError or ValueError.
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
