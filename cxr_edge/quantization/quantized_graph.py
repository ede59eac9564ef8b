"""A graph with the ranges of its quantized tensors: what is converted, and what is kept on disk between exports."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.files import replacing
from cxr_edge.quantization.channel_scales import ChannelScales
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.records import JsonObject

#: Lower and upper bound of each quantized tensor's representable values, by its name.
Ranges = Mapping[str, tuple[float, float]]
_RANGES = "ranges"
_KEY = "key"
_SCALES = "scales"
_MADE = "made"


@dataclass(frozen=True)
class QuantizedGraph:
    """A graph whose int8 kernels lie on their grids, and the range of every tensor in `quantized_tensors(graph)`.

    `scales` are its channel scales relative to the float graph that it was learned from. `made` says how it was made.
    """

    graph: Graph
    ranges: Ranges
    scales: ChannelScales = field(default_factory=dict)
    made: JsonObject = field(default_factory=dict)

    def computes_as(self, other: QuantizedGraph) -> bool:
        """Whether both have the same layers, integers and ranges, so that they convert to the same file."""
        return self.ranges == other.ranges and _same_nodes(self.graph, other.graph)

    def save(self, path: Path, key: Mapping[str, Any]) -> None:
        """Write it, with the `key` that says what it was made from, atomically."""
        # Arrays all, but `savez` has a flag among its keywords.
        texts = {_KEY: _text(key), _RANGES: json.dumps(self.ranges), _MADE: json.dumps(self.made)}
        arrays: dict[str, Any] = {name: np.array(text) for name, text in texts.items()}
        for node in self.graph.nodes:
            if node.kernel is not None:
                arrays[f"{node.name}/kernel"] = node.kernel
            if node.bias is not None:
                arrays[f"{node.name}/bias"] = node.bias
        arrays.update({f"{_SCALES}/{group}": scale for group, scale in self.scales.items()})
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


def load_quantized_graph(graph: Graph, path: Path, key: Mapping[str, Any]) -> QuantizedGraph | None:
    """The quantized graph from a file; None if the file is missing or damaged, or has another key."""
    try:
        with np.load(path) as arrays:
            if str(arrays[_KEY]) != _text(key):
                return None
            ranges = {name: (low, high) for name, (low, high) in json.loads(str(arrays[_RANGES])).items()}
            nodes = tuple(
                node
                if node.kernel is None
                else replace(
                    node,
                    kernel=arrays[f"{node.name}/kernel"],
                    bias=arrays.get(f"{node.name}/bias"),
                )
                for node in graph.nodes
            )
            prefix = f"{_SCALES}/"
            scales = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
            made = json.loads(str(arrays[_MADE]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Making it again takes minutes and needs no user input.
        return None
    return QuantizedGraph(replace(graph, nodes=nodes), ranges, scales, made)


def _same_nodes(graph: Graph, other: Graph) -> bool:
    def structure(of: Graph) -> list[Node]:
        return [replace(node, kernel=None, bias=None) for node in of.nodes]

    return structure(graph) == structure(other) and all(
        np.array_equal(first.kernel, second.kernel) and np.array_equal(first.bias, second.bias)  # type: ignore[arg-type]
        for first, second in zip(graph.nodes, other.nodes, strict=True)
    )


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
