"""Progress reports of a training run; the caller decides where they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_edge.data.layouts import DataSet
    from cxr_edge.data.split import Split
    from cxr_edge.runs.config import RunConfig
    from cxr_edge.runs.history import Epoch
    from cxr_edge.runs.run import Run
    from cxr_edge.training.compute_device import ComputeDevice
    from cxr_edge.training.result import TrainingResult

#: Called after each step of a stage, with a short status text.
Tick = Callable[[str], None]


class Progress:
    """All reports, in the order they are made; this class ignores them."""

    def fold(self, number: int, folds: int) -> None:
        """The run of a fold begins, numbered from 1."""

    def data_found(self, data: DataSet) -> None:
        """The folders are matched to labels; no image has been read yet."""

    def working(self, title: str) -> AbstractContextManager[None]:
        """A task of unknown length begins; it lasts as long as the `with` body."""
        return nullcontext()

    def stage(self, title: str, steps: int, done: int = 0) -> AbstractContextManager[Tick]:
        """A stage of `steps` steps begins, `done` of which are already done; it lasts as long as the `with` body."""
        return nullcontext(lambda text: None)

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        """A run begins, or is resumed; remarks on its data are in its configuration."""

    def computing(self, device: ComputeDevice, policy: str) -> None:
        """The training itself begins, on a device and with a Keras precision policy."""

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        """An epoch of a phase with `epochs` epochs is finished; a resumed phase reports its last one again."""

    def run_finished(self, result: TrainingResult) -> None:
        """Its model and metrics are written."""

    def run_stopped(self) -> None:
        """A started run ends early: interrupted, or by an error."""


SILENT = Progress()


class Several(Progress):
    """Forwards each report to several others."""

    def __init__(self, all_of: Sequence[Progress]) -> None:
        self._all = all_of

    def fold(self, number: int, folds: int) -> None:
        for progress in self._all:
            progress.fold(number, folds)

    def data_found(self, data: DataSet) -> None:
        for progress in self._all:
            progress.data_found(data)

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        with ExitStack() as stack:
            for progress in self._all:
                stack.enter_context(progress.working(title))
            yield

    @contextmanager
    def stage(self, title: str, steps: int, done: int = 0) -> Iterator[Tick]:
        with ExitStack() as stack:
            ticks = [stack.enter_context(progress.stage(title, steps, done)) for progress in self._all]

            def tick(text: str) -> None:
                for one_tick in ticks:
                    one_tick(text)

            yield tick

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        for progress in self._all:
            progress.run_started(run, config, split)

    def computing(self, device: ComputeDevice, policy: str) -> None:
        for progress in self._all:
            progress.computing(device, policy)

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        for progress in self._all:
            progress.epoch_finished(epoch, epochs)

    def run_finished(self, result: TrainingResult) -> None:
        for progress in self._all:
            progress.run_finished(result)

    def run_stopped(self) -> None:
        for progress in self._all:
            progress.run_stopped()
