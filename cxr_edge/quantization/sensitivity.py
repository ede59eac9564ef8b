"""What int8 costs, a group of tensors or a layer at a time: where a model loses, before anything is fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.build import Ranges, SwitchedQuantizer, build_graph
from cxr_edge.quantization.graph import Graph, quantizable_layers
from cxr_edge.training.backend import keras, tf

_GROUPS = {
    "depthwise": "depthwise outputs",
    "conv": "convolution outputs",
    "relu": "ReLU outputs",
    "add": "residual sums",
    "mean": "pooled features and logits",
    "dense": "pooled features and logits",
}
_BATCH = 8


def sensitivity(
    graph: Graph,
    ranges: Ranges,
    images: NDArray[np.uint8],
    targets: NDArray[np.integer],
    on_row: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Accuracy and signal-to-noise ratio with one group of tensors, or one layer, in int8 and the rest in float.

    A layer is its kernels with the outputs computed from them; the ReLU behind it counts to it.

    Args:
        graph: the float deployment graph.
        ranges: calibrated.
        images: uint8 `[N, S, S, 1]`.
        targets: label indices `[N]`.
        on_row: called after each row.

    Returns:
        JSON-ready rows, those that lose most first: `kind` (all, group or layer), `name`, `accuracy`, `agreement` with
        float, `snr_db` of the logits, centred an image, since softmax does not see their mean.
    """
    switches: dict[str, tf.Variable] = {}

    def decorate(name: str, quantizer: Any) -> Any:
        switches[name] = tf.Variable(0.0, trainable=False, name=f"switch_{len(switches)}")
        return SwitchedQuantizer(quantizer, switches[name])

    built = build_graph(graph, ranges, decorate=decorate)
    logits = keras.Model(built.model.input, built.tensors[graph.nodes[-1].inputs[0]])

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> tf.Tensor:
        return logits(tf.cast(batch, tf.float32), training=False)

    def scores(on: Sequence[str]) -> NDArray[np.float64]:
        for name, switch in switches.items():
            switch.assign(1.0 if name in on else 0.0)
        rows = [step(images[start : start + _BATCH]).numpy() for start in range(0, len(images), _BATCH)]
        found: NDArray[np.float64] = np.concatenate(rows).astype(np.float64)
        return np.asarray(found - found.mean(axis=1, keepdims=True))

    float_scores = scores([])
    expected = float_scores.argmax(axis=1)
    rows = []
    for kind, name, on in _subsets(graph, list(switches)):
        found = scores(on)
        noise = float(((found - float_scores) ** 2).sum())
        top = found.argmax(axis=1)
        rows.append(
            {
                "kind": kind,
                "name": name,
                "accuracy": float((top == targets).mean()),
                "agreement": float((top == expected).mean()),
                "snr_db": float(10 * np.log10((float_scores**2).sum() / noise)) if noise else None,
            }
        )
        if on_row:
            on_row()
    order = {"all": 0, "group": 1, "layer": 2}
    return sorted(rows, key=lambda row: (order[row["kind"]], np.inf if row["snr_db"] is None else row["snr_db"]))


def rows_of(graph: Graph) -> int:
    """How many rows `sensitivity` will have."""
    return 2 + len(set(_GROUPS.values())) + len(quantizable_layers(graph))


def _subsets(graph: Graph, names: list[str]) -> list[tuple[str, str, list[str]]]:
    """Kind and name of each row, with the quantizers that are on in it."""
    nodes = {node.name: node for node in graph.nodes}

    def layer_of(name: str) -> str:
        node = nodes[name.removesuffix("/kernel")]
        return nodes[node.inputs[0]].layer if node.kind == "relu" else node.layer

    kernels = [name for name in names if name.endswith("/kernel")]
    tensors = [name for name in names if not name.endswith("/kernel") and name != IMAGE]
    subsets = [("all", "everything", names), ("group", "kernels", kernels)]
    for group in dict.fromkeys(_GROUPS.values()):
        subsets.append(("group", group, [name for name in tensors if _GROUPS[nodes[name].kind] == group]))
    for layer in quantizable_layers(graph):
        subsets.append(("layer", layer, [name for name in [*kernels, *tensors] if layer_of(name) == layer]))
    return subsets
