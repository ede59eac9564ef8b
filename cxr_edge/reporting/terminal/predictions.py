"""What `predict` prints, and its CSV: one row per image, as they come."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cxr_edge.artifacts.cascade import Member
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.console import printable
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.operating import REFER, shown
from cxr_edge.prediction.prediction import Answering, Prediction, PredictionBatch, SkippedImage
from cxr_edge.reporting.terminal.tables import WIDTH, percent, show
from cxr_edge.wording import counted

_GAP = "  "


class PredictionTable:
    """A table whose rows are printed as they come; its columns are wide enough for any row."""

    def __init__(self, answering: Answering, files: Sequence[str | None]) -> None:
        """Print the head of a table for the answers to some files."""
        self._names = _names_of(files)
        labels = answering.labels
        self._figures = [f"{printable(label)} %" for label in labels]
        self._decision = max(len("decision"), *(len(printable(label)) for label in labels))
        if answering.operating_point is not None:
            self._decision = max(self._decision, len(REFER))
        self._by = "by" if answering.small_from is not None else None
        others = sum(len(_GAP) + len(name) for name in self._figures) + len(_GAP) + self._decision
        others += 0 if self._by is None else len(_GAP) + len(Member.SMALL)
        longest = max((len(name) for name in self._names.values()), default=0)
        self._name = max(len("file"), min(longest, max(12, WIDTH - others)))
        show(f"{answering.artifact} on {answering.runtime}{_model_of(answering)}")
        head = self._line("file", "decision", self._figures, self._by)
        show(head)
        show("─" * len(head))

    def row(self, prediction: Prediction) -> None:
        """Print one answer."""
        name = self._names.get(prediction.file, printable(str(prediction.file)))
        if len(name) > self._name:
            # A name is never truncated: the end may distinguish two files.
            show(name)
            name = ""
        figures = [*map(percent, prediction.probabilities)]
        show(self._line(name, prediction.decision or prediction.label, figures, prediction.answered_by))

    def _line(self, name: str, decision: str, figures: Sequence[str], by: str | None) -> str:
        cells = [figure.rjust(len(head)) for figure, head in zip(figures, self._figures, strict=True)]
        cells += [] if by is None else [by.ljust(len(Member.SMALL))]
        return _GAP.join([name.ljust(self._name), printable(decision).ljust(self._decision), *cells])


def _names_of(files: Sequence[str | None]) -> dict[str | None, str]:
    """What to call each file: just its name, if that is unique."""
    names = {file: Path(file).name if file is not None else "-" for file in files}
    times = Counter(names.values())
    return {file: printable(name if times[name] == 1 or file is None else file) for file, name in names.items()}


def _model_of(answering: Answering) -> str:
    student = "" if answering.teacher_sha256 is None else f", student of {answering.teacher_sha256[:12]}"
    return f"{student}, trained on phantoms" if answering.trained_on is TrainingData.PHANTOMS else student


def show_skipped_image(skipped: SkippedImage) -> None:
    """Why a file has no answer."""
    show(f"skipped: {skipped.reason}")


def show_notes(batch: PredictionBatch) -> None:
    """Print the notes below the table: the rule, the files drawn, and the warnings."""
    answering = batch.answering
    if answering.operating_point is not None:
        show(answering.operating_point.sentence)
    if answering.small_from is not None:
        by_full = sum(prediction.answered_by is Member.FULL for prediction in batch.predictions)
        show(
            f"a cascade: the small model answers from a top probability of {shown(answering.small_from)} % on; the "
            f"full one answered {by_full} of {counted(len(batch.predictions), 'image')}"
        )
    for prediction in batch.predictions:
        if prediction.overlay is not None:
            show(f"{prediction.overlay}: evidence for {prediction.label}")
        for warning in prediction.warnings:
            if warning not in answering.warnings:
                show(f"warning: {prediction.file}: {warning}")
    if batch.skipped:
        count = len(batch.skipped)
        show(
            f"warning: {count} of {count + len(batch.predictions)} images have no answer; the reasons are listed above"
        )
    if answering.selection_note:
        show(answering.selection_note)
    for warning in answering.warnings:
        show(f"warning: {warning}")
    show(NOTICE)


def show_predictions(batch: PredictionBatch) -> None:
    """Print a whole record at once."""
    table = PredictionTable(batch.answering, [prediction.file for prediction in batch.predictions])
    for prediction in batch.predictions:
        table.row(prediction)
    for skipped in batch.skipped:
        show_skipped_image(skipped)
    show_notes(batch)


class PredictionCsv:
    """A CSV file with one line per image, written as they come: the file stays valid if the rest never comes."""

    def __init__(self, file: TextIO, answering: Answering) -> None:
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._labels, self._is_cascade = len(answering.labels), answering.small_from is not None
        self._write(["file", "label", "decision", *answering.labels, "warnings", "error"], "answered_by")

    def row(self, answer: Prediction | SkippedImage) -> None:
        """Write one line; for an image without an answer, with `error`."""
        if isinstance(answer, SkippedImage):
            self._write([answer.path, "", "", *[""] * self._labels, "", answer.reason], "")
            return
        figures = [repr(probability) for probability in answer.probabilities]
        cells = [answer.file, answer.label, answer.decision or "", *figures, "; ".join(answer.warnings), ""]
        self._write(cells, answer.answered_by)

    def _write(self, cells: Sequence[str | None], answered_by: str | None) -> None:
        self._writer.writerow([*cells, answered_by] if self._is_cascade else cells)
        self._file.flush()


@contextmanager
def prediction_csv(path: Path | None, answering: Answering) -> Iterator[PredictionCsv | None]:
    """The CSV file at a path, open while the body runs; None for None. Raises OptionError if it is a folder."""
    if path is None:
        yield None
        return
    if path.is_dir():
        raise OptionError(f"--csv {path}: name a file, not a folder")
    # File names may contain bytes that are not UTF-8.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        yield PredictionCsv(file, answering)
