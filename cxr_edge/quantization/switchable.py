"""A graph whose tensors can be switched between float and int8 without tracing it again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.quantized_graph import QuantizedGraph
from cxr_edge.quantization.simulate import images_of, interpret, kernels_of, on_grid
from cxr_edge.training.backend import tf

#: Among the names of tensors to switch, stands for all kernels and biases.
KERNELS = "kernels"
_BATCH = 8


class SwitchableGraph:
    """The logits of a float graph with any of its tensors, and its kernels, in int8.

    Args:
        reference: the float graph.
        quantized: the same in int8.
    """

    def __init__(self, reference: Graph, quantized: QuantizedGraph) -> None:
        nodes = {node.name for node in reference.nodes}
        #: The tensors with a range, but for the image.
        self.names = tuple(name for name in quantized.ranges if name != IMAGE and name in nodes)
        self._switches = {name: tf.Variable(0.0) for name in [*self.names, KERNELS]}
        self._step = self._traced(reference, quantized)

    def _traced(self, reference: Graph, quantized: QuantizedGraph) -> Any:
        switches = self._switches
        original, rounded = kernels_of(reference), kernels_of(quantized.graph)
        biases = {node.name: node.bias for node in quantized.graph.nodes}

        def activation(name: str, value: Any) -> Any:
            if name not in switches:
                return value
            return value + switches[name] * (on_grid(value, *quantized.ranges[name]) - value)

        def mixed(on: Any, off: Any) -> Any:
            return off + switches[KERNELS] * (on - off)

        @tf.function(input_signature=[images_of(reference)], autograph=False)  # type: ignore[untyped-decorator]
        def step(batch: tf.Tensor) -> tf.Tensor:
            tensors = interpret(
                reference,
                tf.cast(batch, tf.float32),
                lambda node: mixed(rounded(node), original(node)),
                lambda node: mixed(biases[node.name], node.bias),
                activation,
            )
            return tensors[reference.nodes[-1].inputs[0]]

        return step

    def logits(
        self, images: NDArray[np.uint8], on: Collection[str], on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Logits `[N, K]`, centred per image, with the named tensors in int8 and the rest in float.

        Args:
            images: uint8 `[N, S, S, 1]`.
            on: tensors of `names`, and `KERNELS`.
            on_batch: called with the number of images after each batch.
        """
        for name, switch in self._switches.items():
            switch.assign(1.0 if name in on else 0.0)
        rows = []
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            rows.append(self._step(batch).numpy())
            if on_batch:
                on_batch(len(batch))
        values = np.concatenate(rows).astype(np.float64)
        return np.asarray(values - values.mean(axis=1, keepdims=True))
