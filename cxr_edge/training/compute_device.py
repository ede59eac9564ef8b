"""What TensorFlow computes on here, and what would be faster."""

from __future__ import annotations

from dataclasses import dataclass

from cxr_edge.processors import describe_cpu
from cxr_edge.runtimes.gpus import nvidia_nodes
from cxr_edge.training.backend import THREADS, tf
from cxr_edge.training.strategy import Distribution
from cxr_edge.wording import counted


@dataclass(frozen=True)
class ComputeDevice:
    """`name` is a GPU's, or the CPU's with its threads; `unused` names unused hardware and how to use it."""

    name: str
    unused: str | None = None

    def __str__(self) -> str:
        return self.name if self.unused is None else f"{self.name}; {self.unused}"


def compute_device(distribution: Distribution | None = None) -> ComputeDevice:
    """The GPUs that TensorFlow sees, otherwise the CPU; and this process's place in a distributed training."""
    gpus = tf.config.list_physical_devices("GPU")
    cpu = f"CPU, {describe_cpu()[0]}, {counted(THREADS, 'thread')}"
    if distribution is not None and distribution.strategy is not None:
        return ComputeDevice(f"{counted(len(gpus), 'GPU') if gpus else cpu}; {distribution}")
    if gpus:
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
        # Without a distribution strategy, TensorFlow uses only the first one.
        unused = (
            f"{', '.join(names[1:])} is unused: train --strategy mirrored uses all GPUs" if len(names) > 1 else None
        )
        return ComputeDevice(f"GPU, {names[0]}", unused)
    if not nvidia_nodes():
        return ComputeDevice(cpu)
    return ComputeDevice(
        cpu,
        "there is an NVIDIA GPU, but TensorFlow cannot use it: check that nvidia-smi lists it, and pip install "
        "'tensorflow[and-cuda]' in the version that is installed",
    )
