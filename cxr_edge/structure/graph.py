"""What there is to know of a graph before a runtime loads it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge.artifacts.contract import TensorSpec

#: Limits that no classifier comes near. They bound the time of the checks, and the memory of a tensor.
MAX_NODES, MAX_RANK, MAX_ELEMENTS = 20_000, 8, 1 << 28


@dataclass(frozen=True)
class GraphStructure:
    """The ends of a graph and the kinds of its operators; a size that is open is the string `N`.

    An operator of ONNX outside the standard domain goes by `DOMAIN.NAME`, a custom one of TFLite by `custom NAME`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: frozenset[str]


def require(right: bool, what: str) -> None:
    """Raises ValueError with what is wrong."""
    if not right:
        raise ValueError(what)


def elements_of(shape: Sequence[int], name: str) -> int:
    """How many values a tensor has; an open size counts 1. Raises ValueError for a size that cannot be."""
    require(len(shape) <= MAX_RANK and all(size >= -1 for size in shape), f"the shape of {name[:60]} is {shape}")
    elements = math.prod(abs(size) for size in shape)
    require(elements <= MAX_ELEMENTS, f"{name[:60]} has {elements} values")
    return elements
