"""Images on which a network runs away: from block to block, its residual sums grow far beyond those of other images.

Such images are rare, but their sums reach hundreds of times the usual ones. Ranges wide enough for them leave nothing
to all other images: with 2 of them among 512 calibration images, int8 agreed with its float model on 69 % of a test
part (2.3 dB). So int8 neither learns from them nor is calibrated on them. Training with batch norms does not see them:
each batch is divided by its own spread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.quantization.calibrate import Tick, over_batches
from cxr_edge.quantization.graph import Graph
from cxr_edge.quantization.simulate import images_of, interpret, kernels_of
from cxr_edge.training.backend import tf

#: An image runs away if a residual sum's root mean square exceeds this many times that of the median image.
FACTOR = 8.0


def is_ordinary(sums: Sequence[Any]) -> Any:
    """For each image of a batch, bool `[N]`, that it does not run away, from its residual sums `[N, H, W, C]`."""
    return _are_ordinary(_sizes_of(sums))


def _sizes_of(sums: Sequence[Any]) -> Any:
    """The root mean square of each residual sum `[N, H, W, C]`, as `[sums, N]`."""
    return tf.stack([tf.sqrt(tf.reduce_mean(values**2, [1, 2, 3])) for values in sums])


def _are_ordinary(sizes: Any) -> Any:
    # Of an even number, the lower median: of two images, one may run away.
    medians = tf.sort(sizes, axis=1)[:, (tf.shape(sizes)[1] - 1) // 2]
    return tf.reduce_all(sizes <= FACTOR * medians[:, None], axis=0)


def ordinary_images(
    graph: Graph, images: NDArray[np.uint8], batch_size: int, on_batch: Tick | None = None
) -> NDArray[np.bool_]:
    """For each image, uint8 `[N, S, S, 1]`, that a float graph does not run away on it, compared with all of them.

    A batch is only what is computed at a time: large images come one by one.
    """
    names, kernels = [node.name for node in graph.nodes if node.kind == "add"], kernels_of(graph)

    @tf.function(input_signature=[images_of(graph)], autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: tf.Tensor) -> tf.Tensor:
        tensors = interpret(graph, tf.cast(batch, tf.float32), kernels)
        return _sizes_of([tensors[name] for name in names])

    sizes = np.concatenate(over_batches(step, images, batch_size, on_batch), axis=1)
    return np.asarray(_are_ordinary(sizes))
