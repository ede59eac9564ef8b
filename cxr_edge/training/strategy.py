"""How a training is distributed over devices and machines, by TensorFlow's own strategies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from cxr_edge.choices import Strategy
from cxr_edge.errors import OptionError, RunError
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import WHOLE, Batches, Share
from cxr_edge.training.cluster import Cluster, cluster_of_environment
from cxr_edge.wording import counted

#: What TensorFlow raises when a worker is lost.
LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


class Distribution:
    """A strategy of TensorFlow, or none, and this process's place in it.

    Args:
        strategy: TensorFlow's; None for one device.
        cluster: the workers; None if this process is the only one.
    """

    def __init__(self, strategy: Any = None, cluster: Cluster | None = None) -> None:
        self.strategy, self.cluster = strategy, cluster

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.cluster is None or self.cluster.is_chief

    @property
    def replicas(self) -> int:
        """Copies of the model that train at once, on all workers together."""
        return 1 if self.strategy is None else int(self.strategy.num_replicas_in_sync)

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which to build and compile models."""
        return nullcontext() if self.strategy is None else self.strategy.scope()

    def prepare(self, model: keras.Model) -> None:
        """Let batch norms use the statistics of the whole batch, as one device would, and not of a replica's part."""
        if self.strategy is not None:
            for layer in model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized, layer.fused = True, False

    def check(self, batches: Batches) -> None:
        """Raises OptionError if the batch cannot be cut into equal parts."""
        if batches.size % self.replicas:
            raise OptionError(
                f"--batch-size {batches.size}: must be a multiple of {self.replicas}, the number of replicas"
            )

    def epoch(self, batches: Batches, number: int) -> Any:
        """This process's share of the batches of an epoch, as `Batches.epoch`."""
        if self.strategy is None:
            return batches.epoch(number, WHOLE)
        workers = 1 if self.cluster is None else len(self.cluster.workers)
        parts = self.replicas // workers

        def share_of_worker(context: Any) -> Any:
            return batches.epoch(number, Share(context.input_pipeline_id * parts, parts, self.replicas))

        return self.strategy.distribute_datasets_from_function(share_of_worker)

    def barrier(self) -> None:
        """Return once every worker is here. Raises RunError if one is lost."""
        if self.cluster is not None:
            arrive = tf.function(lambda: tf.distribute.get_replica_context().all_reduce("SUM", tf.constant(1.0)))
            with self.watching():
                self.strategy.run(arrive)

    @contextmanager
    def checkpoints(self, folder: Path) -> Iterator[Path]:
        """Where this process keeps checkpoints: the run's folder, or a copy for a worker that is not the chief.

        TensorFlow saves on all workers at once, because variables are read from all of them.
        """
        if self.is_chief:
            yield folder
            return
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / folder.name
            if folder.is_dir():
                shutil.copytree(folder, copy)
            yield copy

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Turn what TensorFlow raises when a worker is lost into a RunError."""
        try:
            yield
        except LOST_WORKER:
            if self.cluster is None:
                raise
            raise RunError(
                f"worker {self.cluster.index} of {len(self.cluster.workers)}: lost another worker; see its output for "
                "the reason, and start all of them again, with --resume if an epoch was finished"
            ) from None

    def __str__(self) -> str:
        if self.cluster is None:
            return counted(self.replicas, "replica")
        workers = len(self.cluster.workers)
        return f"worker {self.cluster.index} of {workers}, {counted(self.replicas, 'replica')} in all"


ALONE = Distribution()


@cache
def distribution_of(strategy: Strategy) -> Distribution:
    """The distribution for a training; made once per process, as TensorFlow demands.

    Raises:
        OptionError: `TF_CONFIG` is missing or describes no cluster.
        RunError: another worker cannot be reached.
    """
    if strategy is Strategy.NONE:
        return ALONE
    if strategy is Strategy.MIRRORED:
        return Distribution(tf.distribute.MirroredStrategy())
    return Distribution(tf.distribute.MultiWorkerMirroredStrategy(), cluster_of_environment())
