"""What a training tells while it runs; whoever starts it decides what becomes of that."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_edge.data.layouts import DataSet
    from cxr_edge.data.split import Split
    from cxr_edge.runs.config import RunConfig
    from cxr_edge.runs.history import Epoch
    from cxr_edge.runs.run import Run
    from cxr_edge.training.compute_device import ComputeDevice
    from cxr_edge.training.result import TrainingResult

#: Called once for each step of a stage that is done, with a short text on how it goes.
Tick = Callable[[str], None]


class Progress:
    """All that is told, in the order in which it is; this one passes over everything."""

    def fold(self, number: int, folds: int) -> None:
        """One of the runs of a cross-validation begins, by its number from 1."""

    def data_found(self, data: DataSet) -> None:
        """What is about to be read as what, before the first image is."""

    def working(self, title: str) -> AbstractContextManager[None]:
        """Something begins that cannot say how far it is; it lasts as long as the body."""
        return nullcontext()

    def stage(self, title: str, steps: int, done: int = 0) -> AbstractContextManager[Tick]:
        """Something begins that takes so many steps, some of which were done before; it lasts as long as the body."""
        return nullcontext(lambda text: None)

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        """A run begins, or is resumed; what is to be known of its data is in its configuration."""

    def computing(self, device: ComputeDevice, policy: str) -> None:
        """The training itself begins, on that device and with that Keras precision policy."""

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        """One of so many epochs of a phase."""

    def run_finished(self, result: TrainingResult) -> None:
        """Its model and metrics are written."""


SILENT = Progress()
