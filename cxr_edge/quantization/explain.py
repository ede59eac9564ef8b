"""Where int8's noise comes from: one tensor, or one group of them, in int8 at a time, and the rest in float.

Unlike a parity table, this shows that kernels cost nothing and activations everything, and whether a tensor's range
clips or is too wide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_edge.evaluation.int8_noise import Noise, NoiseSource
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.simulate import images_of, interpret, kernels_of, on_grid
from cxr_edge.quantization.switchable import KERNELS, SwitchableGraph
from cxr_edge.training.backend import tf

_GROUPS = {
    "depthwise": "depthwise outputs",
    "conv": "convolution outputs",
    "relu": "ReLU outputs",
    "add": "residual sums",
    "mean": "pooled features and logits",
    "dense": "pooled features and logits",
}
#: A few images suffice to show a tensor's noise; each row of the table takes a forward pass over all of them.
EXPLAIN_IMAGES = 64
_BATCH = 8


def sample_indices(count: int) -> NDArray[np.int64]:
    """Indices of a seeded sample of images to explain with, in ascending order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:EXPLAIN_IMAGES])


def explain(
    reference: Graph,
    quantized: QuantizedGraph,
    images: NDArray[np.uint8],
    on_row: Callable[[], None] | None = None,
) -> list[Noise]:
    """Signal-to-noise ratio and bias with everything in int8, with each group, and with each tensor.

    Args:
        reference: the float graph.
        quantized: the same in int8.
        images: uint8 `[N, S, S, 1]`, of any kind.
        on_row: called after each row.

    Returns:
        Everything, then the groups, then the tensors, each with the lowest signal-to-noise ratio first.
    """
    switchable = SwitchableGraph(reference, quantized)
    names = switchable.names
    expected = switchable.logits(images, ())
    clipped = _clipped_shares(reference, quantized, names, images)
    layers = {node.name: _layer_of(reference, node.name) for node in reference.nodes}
    rows = []
    for source, name, on in _subsets(reference, names):
        error = switchable.logits(images, on) - expected
        noise = float((error**2).sum())
        rows.append(
            Noise(
                source,
                name,
                float(10 * np.log10((expected**2).sum() / noise)) if noise else None,
                float(((error + expected).argmax(axis=1) == expected.argmax(axis=1)).mean()),
                tuple(error.mean(axis=0).tolist()),
                layers[name] if source == NoiseSource.TENSOR else None,
                clipped[name] if source == NoiseSource.TENSOR else None,
            )
        )
        if on_row:
            on_row()
    order = list(NoiseSource)
    return sorted(rows, key=lambda row: (order.index(row.source), np.inf if row.snr_db is None else row.snr_db))


def rows_of(quantized: QuantizedGraph) -> int:
    """The number of rows that `explain` returns."""
    names = [node.name for node in quantized.graph.nodes if node.name in quantized.ranges]
    return len(_subsets(quantized.graph, names))


def _subsets(graph: Graph, names: Sequence[str]) -> list[tuple[NoiseSource, str, list[str]]]:
    """Source and name of each row, and the tensors that are in int8."""
    kinds = {node.name: node.kind for node in graph.nodes}
    subsets = [
        (NoiseSource.ALL, "everything", [*names, KERNELS]),
        (NoiseSource.GROUP, "kernels and biases", [KERNELS]),
    ]
    for group in dict.fromkeys(_GROUPS.values()):
        members = [name for name in names if _GROUPS[kinds[name]] == group]
        subsets.append((NoiseSource.GROUP, group, members))
    return [*subsets, *((NoiseSource.TENSOR, name, [name]) for name in names)]


def _layer_of(graph: Graph, name: str) -> str:
    nodes = {node.name: node for node in graph.nodes}
    node = nodes[name]
    return nodes[node.inputs[0]].layer if node.kind == "relu" else node.layer


def _clipped_shares(
    graph: Graph, quantized: QuantizedGraph, names: Sequence[str], images: NDArray[np.uint8]
) -> dict[str, float]:
    """The share of each tensor's squared quantization error that comes from values outside its range."""
    kernels = kernels_of(graph)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def errors(batch: tf.Tensor) -> tf.Tensor:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        rows = []
        for name in names:
            low, high = quantized.ranges[name]
            value = tensors[name]
            squared = (on_grid(value, low, high) - value) ** 2
            past = tf.cast((value < low) | (value > high), tf.float32)
            rows.append([tf.reduce_sum(squared), tf.reduce_sum(squared * past)])
        return tf.stack(rows)

    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    sums = np.asarray(np.sum([errors(batch).numpy() for batch in batches], axis=0, dtype=np.float64))
    return {name: float(cut / error) if error else 0.0 for name, error, cut in zip(names, *sums.T, strict=True)}
