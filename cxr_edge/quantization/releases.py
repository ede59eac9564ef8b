"""Layers to leave in float after quantization, so that tensors between them are no longer rounded to int8.

Kernels and ranges stay as calibrated or fine-tuned: the loss comes from rounding activations, so nothing has to be
learned again. A tensor is in float only if all layers that write or read it are, so that freeing one tensor may take
several layers.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import replace

from cxr_edge.evaluation.accuracy_control import Release
from cxr_edge.evaluation.int8_noise import Noise, NoiseSource
from cxr_edge.quantization.graph import Graph, keep_in_float, quantizable_layers, quantized_tensors
from cxr_edge.quantization.quantized_graph import QuantizedGraph


def with_layers_in_float(quantized: QuantizedGraph, layers: Sequence[str]) -> QuantizedGraph:
    """The int8 graph with these layers computed in float, with the kernels and biases that they have in int8.

    Args:
        quantized: as calibrated or fine-tuned. All its ranges are kept, also those of tensors that are now in float.
        layers: all layers to compute in float, as for `keep_in_float`.
    """
    return replace(quantized, graph=keep_in_float(quantized.graph, layers))


def ranked_releases(graph: Graph, kept: Sequence[str], noise: Sequence[Noise]) -> tuple[Release, ...]:
    """The tensors that can be freed, those with the most noise first, each with the layers that it takes in addition.

    Args:
        graph: what was quantized.
        kept: patterns of the layers that are in float already.
        noise: rows of `explain`.

    Returns:
        The releases, except for tensors that always stay int8, such as those that pooling reads, those freed together
        with earlier ones, and those whose rounding changes nothing.
    """
    releases: list[Release] = []
    layers = [layer for layer in quantizable_layers(graph) if any(fnmatch.fnmatch(layer, pattern) for pattern in kept)]
    for row in noise:
        if row.source != NoiseSource.TENSOR or row.snr_db is None:
            continue
        added = [layer for layer in _layers_around(graph, row.name) if layer not in layers]
        if added and row.name not in quantized_tensors(keep_in_float(graph, [*layers, *added])):
            layers += added
            releases.append(Release(row.name, tuple(added), round(row.snr_db, 1)))
    return tuple(releases)


def _layers_around(graph: Graph, name: str) -> list[str]:
    """The layers that write or read a tensor and can be in float. A ReLU belongs to the layer that it reads."""
    nodes, consumers, quantizable = (
        {node.name: node for node in graph.nodes},
        graph.consumers(),
        quantizable_layers(graph),
    )
    writer = nodes[name]
    writer = nodes[writer.inputs[0]] if writer.kind == "relu" else writer
    around = [writer, *(reader for reader in consumers[name] if reader.kind != "relu")]
    return list(dict.fromkeys(node.layer for node in around if node.layer in quantizable))
