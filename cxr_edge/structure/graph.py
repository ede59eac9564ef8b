"""What is known about a graph before a runtime loads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge.artifacts.contract import TensorSpec

#: Limits that no classifier comes near. They bound the time for the checks, and the memory of a tensor.
MAX_NODES, MAX_RANK, MAX_ELEMENTS = 20_000, 8, 1 << 28


@dataclass(frozen=True)
class GraphStructure:
    """The inputs and outputs of a graph and the kinds of its operators; a dynamic size is the string `N`.

    `unknown_operators` are those that no artifact has. An ONNX operator outside the standard domain is called
    `DOMAIN.NAME`, a custom TFLite operator `custom NAME`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: frozenset[str]
    unknown_operators: frozenset[str]


def require(right: bool, what: str) -> None:
    """Raises ValueError with the message `what` unless `right`."""
    if not right:
        raise ValueError(what)


def elements_of(shape: Sequence[int], name: str) -> int:
    """The number of values of a tensor; a dynamic size counts as 1. Raises ValueError for an invalid size."""
    require(len(shape) <= MAX_RANK and all(size >= -1 for size in shape), f"the shape of {name[:60]} is {shape[:10]}")
    elements = math.prod(abs(size) for size in shape)
    require(elements <= MAX_ELEMENTS, f"{name[:60]} has {elements} values")
    return elements
