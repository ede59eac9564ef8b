"""TensorBoard: a log of scalars in the run's folder."""

from __future__ import annotations

from pathlib import Path

from cxr_edge.console import quiet
from cxr_edge.data.split import Split
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import Epoch
from cxr_edge.runs.progress import Progress
from cxr_edge.train_options import TrainOptions
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.tracking import figures_of_epoch, figures_of_test, step_of

with quiet():
    from tensorboard.summary import Writer


class TensorBoardLogs(Progress):
    """Writes each epoch to `tensorboard/` in the run; a resumed run adds to it.

    An epoch that is reported again becomes a second point at the same place.
    """

    _writer: Writer | None = None
    _folder: Path
    _options: TrainOptions

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        self._folder, self._options = run.tensorboard, config.options

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        self._write(figures_of_epoch(epoch), step_of(epoch, self._options))

    def run_finished(self, result: TrainingResult) -> None:
        self._write(figures_of_test(result.metrics), len(result.history.epochs))
        self.run_stopped()

    def run_stopped(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, figures: dict[str, float], step: int) -> None:
        if self._writer is None:
            # Not earlier: it imports TensorFlow, which by now has been imported quietly.
            self._writer = Writer(str(self._folder))
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
