"""A training in the terminal, or in a log file: its data, its progress and its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from cxr_edge.console import Bar, progress_bar, working
from cxr_edge.data.layouts import DataSet
from cxr_edge.data.split import Split
from cxr_edge.reporting.terminal.metrics import show_metrics, show_skipped, with_bounds
from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runs import Run
from cxr_edge.runs.config import MeasuredLatency, RunConfig, Student
from cxr_edge.runs.history import Epoch, History
from cxr_edge.runs.network import XCEPTION, Network
from cxr_edge.runs.progress import Progress, Tick
from cxr_edge.wording import counted

if TYPE_CHECKING:
    from cxr_edge.training.compute_device import ComputeDevice
    from cxr_edge.training.result import TrainingResult


class TrainingDisplay(Progress):
    """Bars and a line per epoch on stderr (in a log file, only lines); everything else on stdout.

    Args:
        draw: draws a finished run's plots; returns a warning for each that cannot be drawn.
    """

    def __init__(self, draw: Callable[[TrainingResult], list[str]]) -> None:
        self._draw = draw
        self._bar: Bar | None = None

    def fold(self, number: int, folds: int) -> None:
        show(f"fold {number} of {folds}")

    def data_found(self, data: DataSet) -> None:
        for label, count in data.counts().items():
            show(f"  {data.folders[label]} -> {label}, {counted(count, 'image')}")
        if data.left_out:
            show(f"  left out: {', '.join(data.left_out)}")
        if parts := data.parts():
            show(f"  parts as supplied: {', '.join(f'{count} {part}' for part, count in parts.items())}")

    def working(self, title: str) -> AbstractContextManager[None]:
        return working(title)

    @contextmanager
    def stage(self, title: str, steps: int, done: int = 0) -> Iterator[Tick]:
        with progress_bar(title, steps, done) as bar:

            def tick(text: str) -> None:
                bar.advance()
                bar.note(text)

            self._bar = bar
            yield tick
            bar.note("")

    def run_started(self, run: Run, config: RunConfig, split: Split) -> None:
        show_skipped([skipped.reason for skipped in config.skipped], "run.json lists them all")
        counts = ", ".join(f"{label} {count}" for label, count in config.images.items())
        parts = ", ".join(f"{len(split.part(part))} {part}" for part in ("train", "validation", "test"))
        show(f"run {run.folder}: {counts} ({parts})")
        if config.student is not None:
            show(f"  {student_line(config.student, config.network)}")
            if (measured := config.student.latency) is not None:
                show(f"  {_latency_line(measured, config.options.image_size)}")
        elif config.network != XCEPTION:
            show(f"  network: {config.network.described(config.options.image_size)}")
        for line in _remarks(config):
            show(line)

    def computing(self, device: ComputeDevice, policy: str) -> None:
        show(f"training in {policy} on {device}")

    def epoch_finished(self, epoch: Epoch, epochs: int) -> None:
        if self._bar is not None:
            accuracy = with_bounds(epoch.validation_accuracy)
            balanced = with_bounds(epoch.validation_balanced_accuracy)
            self._bar.say(
                f"{epoch.phase} {epoch.epoch}/{epochs}: loss {epoch.loss:.4f}; validation: accuracy {accuracy}, "
                f"balanced {balanced}; {'kept' if epoch.kept else 'not kept'}"
            )

    def run_finished(self, result: TrainingResult) -> None:
        for line in _kept(result.history):
            show(line)
        show_metrics(result.metrics.metrics, "Keras float32, test split", result.metrics.phantoms)
        for warning in self._draw(result):
            show(f"warning: {warning}")
        show(f"model: {result.run.model_file}")


def student_line(student: Student, network: Network) -> str:
    """What a student was distilled from, and its size."""
    more = f", with {counted(student.unlabelled_images, 'image')} without labels" if student.unlabelled else ""
    return (
        f"student of {student.teacher}{more}: {student.macs / 1e6:.0f} of {student.teacher_macs / 1e6:.0f} million "
        f"multiply-accumulates ({student.share:.2f}), {counted(len(network.middle), 'middle block')}"
    )


def _latency_line(measured: MeasuredLatency, image_size: int) -> str:
    bounds = f" ({measured.share.low:.2f} to {measured.share.high:.2f})" if measured.share.low is not None else ""
    return (
        f"at {image_size} px {measured.share.value:.2f}{bounds} of the teacher's int8 latency, "
        f"{measured.teacher_p50_ms:.2f} ms on {measured.runtime}, {counted(measured.threads, 'thread')}; rounds "
        f"spread by {100 * measured.spread:.1f} %"
    )


def _remarks(config: RunConfig) -> Iterator[str]:
    """Remarks on a run's data."""
    if known := config.images_with_patient:
        sides = "" if config.given_parts else "; each patient stays in one part of the split"
        yield f"  the patients of {known} images are known{sides}"
    elif not config.phantoms:
        yield "  no patients are named: images of one patient may be in several parts of the split"
    if config.patients_doubt:
        yield f"warning: {config.patients_doubt}"
    for warning, count in config.dicom_warnings.items():
        yield f"warning: {counted(count, 'DICOM image')}: {warning}"
    if leaks := config.leaks:
        named = ", ".join(leaks[:5]) + (f" and {len(leaks) - 5} more" if len(leaks) > 5 else "")
        yield (
            "warning: the parts of the data overlap; patients, or images with copies, in several parts: "
            f"{len(leaks)} ({named})"
        )
    if unknown := config.without_source:
        yield (
            f"warning: the source of {counted(unknown, 'image')} that the model is trained or selected on is unknown; "
            f"any of them may come from {config.options.hold_out_source}"
        )
    if config.repeated:
        sides = "" if config.given_parts else "; copies stay in one part of the split"
        yield f"  {counted(config.repeated, 'picture is', 'pictures are')} in the data more than once{sides}"
    if config.sources_apart:
        yield (
            f"  warning: no image of {', '.join(config.sources_apart)} shares its source with another class: whatever "
            "gives away the source gives away the class; see cxr-edge audit"
        )
    if config.doubt:
        yield f"  warning: {config.doubt}"


def _kept(history: History) -> Iterator[str]:
    """Which epoch's weights the model has, and a warning if the last phase brought no improvement."""
    if history.kept is None:
        return
    epoch, last = history.epochs[history.kept], history.epochs[-1]
    yield f"kept: {epoch.phase} epoch {epoch.epoch}, selected on the validation split"
    if epoch.phase != last.phase:
        yield (
            f"warning: no epoch of {last.phase} was better than the {epoch.phase}'s, so its work is lost; "
            "try a lower --learning-rate or more --epochs"
        )
