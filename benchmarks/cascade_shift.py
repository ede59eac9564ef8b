"""What robustness costs a cascade: how many images must go on to the full model for an agreement under each shift.

    python -m benchmarks.cascade_shift --small RUN --full RUN [--data DIR] [--json FILE]

For several demands, the threshold is fitted as `cxr-edge cascade` fits it, on validation images. What it then does is
counted on the run's test part and on each folder of labelled images, as they are and under each shift. None of these
images has a part in any choice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled_folders import read_labelled, require_distinct_names
from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact, read_artifact
from cxr_edge.artifacts.cascade import is_unsure
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import GateError
from cxr_edge.evaluation.cascade_fit import Answers, CascadeDemands, fit_cascade
from cxr_edge.evaluation.conditions import LABELLED_PART, VALIDATION
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.shifts import SUITE, Shift
from cxr_edge.files import write_json
from cxr_edge.processors import usable_cores
from cxr_edge.records import to_json
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.runs import Run, find_run
from cxr_edge.runtimes.base import Session, runtimes_for

AGREEMENT = 0.995
#: Demanded agreements under each shift; None fits on images as they are alone.
SHIFTED = (None, 0.9, 0.95, 0.98, 0.99)
_CONDITIONS: tuple[Shift | None, ...] = (None, *SUITE)


@dataclass(frozen=True)
class Cell:
    """What a cascade does on a set of images under a shift, None without one; `needed` is the smallest number that any
    threshold must send on for `AGREEMENT` on these very images: a figure, not a choice.
    """

    images_of: str
    shift: str | None
    images: int
    escalated: int
    differing: int
    right: int
    full_right: int
    small_right: int
    needed: int


@dataclass(frozen=True)
class Fitted:
    """A demand, and the threshold fitted to it; None, and no cells, where there is none."""

    shifted_agreement: float | None
    threshold: float | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CascadeShiftRecord:
    """What `--json` writes."""

    cxr_edge: str
    date: str
    small_sha256: str
    full_sha256: str
    agreement: float
    demands: tuple[Fitted, ...]


#: By condition: the name of a shift, None for images as they are.
AnswersUnderShifts = dict[str | None, Answers]


def answers_under_shifts(
    sessions: tuple[Session, Session],
    images: Callable[[int], NDArray[np.uint8]],
    sizes: tuple[int, int],
    targets: NDArray[np.int64],
    title: str,
) -> AnswersUnderShifts:
    """Of the small and the full model to the same images, which `images` gives at a size."""
    answers: AnswersUnderShifts = {}
    with progress_bar(title, 2 * len(_CONDITIONS) * len(targets)) as bar:
        for shift in _CONDITIONS:
            both = []
            for session, size in zip(sessions, sizes, strict=True):
                pixels = images(size)
                both.append(score_images(session, pixels if shift is None else shift.apply(pixels), bar.tick))
            answers[None if shift is None else shift.name] = Answers(both[0], both[1], targets)
    return answers


def cell(images_of: str, shift: str | None, answers: Answers, threshold: float) -> Cell:
    """Count what a threshold does."""
    full, small, targets = answers.full.argmax(axis=1), answers.small.argmax(axis=1), answers.targets
    top = answers.combined(threshold).argmax(axis=1)
    differs = np.sort(answers.confidence[small != full])[::-1]
    allowed = int((1 - AGREEMENT) * len(targets))
    needed = int((answers.confidence <= differs[allowed]).sum()) if len(differs) > allowed else 0
    return Cell(
        images_of,
        shift,
        images=len(targets),
        escalated=int(is_unsure(answers.small, threshold).sum()),
        differing=int((top != full).sum()),
        right=int((top == targets).sum()),
        full_right=int((full == targets).sum()),
        small_right=int((small == targets).sum()),
        needed=needed,
    )


def fitted(
    validation: AnswersUnderShifts, sets: dict[str, AnswersUnderShifts], labels: tuple[str, ...], demand: float | None
) -> Fitted:
    """Fit to a demand, and count on the other images."""
    plain = validation[None]
    shifted = {} if demand is None else {shift: own for shift, own in validation.items() if shift is not None}
    try:
        fit = fit_cascade(plain, shifted, plain, labels, None, CascadeDemands(AGREEMENT, demand or 0.0))
    except GateError:
        return Fitted(demand, None, ())
    cells = tuple(
        cell(name, shift, answers, fit.threshold) for name, own in sets.items() for shift, answers in own.items()
    )
    return Fitted(demand, fit.threshold, cells)


def _int8_of(run: Run) -> Artifact:
    return read_artifact(run.bundle / f"xception-{Quantization.INT8}.{ArtifactFormat.TFLITE}")


def _measured(small: Run, full: Run, folders: list[Path]) -> CascadeShiftRecord:
    artifacts = (_int8_of(small), _int8_of(full))
    runtime = runtimes_for(ArtifactFormat.TFLITE)[0]
    first, second = (runtime.load(own.path, usable_cores()) for own in artifacts)
    sizes = (artifacts[0].image_size, artifacts[1].image_size)
    split = run_split(full)

    def of_part(part: str) -> AnswersUnderShifts:
        images = {size: np.asarray(decoded(split, part, size)) for size in sizes}
        return answers_under_shifts((first, second), images.__getitem__, sizes, split.targets(part), part)

    validation = of_part(VALIDATION)
    sets = {LABELLED_PART: of_part(LABELLED_PART)}
    for folder in folders:
        other = {size: read_labelled(folder, split.labels, size, split.resize) for size in sizes}
        images = {size: own for size, (own, _) in other.items()}
        _, targets = other[sizes[0]]
        sets[folder.name] = answers_under_shifts((first, second), images.__getitem__, sizes, targets, folder.name)
    return CascadeShiftRecord(
        cxr_edge=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        small_sha256=artifacts[0].sha256,
        full_sha256=artifacts[1].sha256,
        agreement=AGREEMENT,
        demands=tuple(fitted(validation, sets, split.labels, demand) for demand in SHIFTED),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=Path, required=True)
    parser.add_argument("--full", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled images; repeatable")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    require_distinct_names(parser, options.data)
    record = _measured(find_run(options.small), find_run(options.full), options.data)
    columns = ["images", "shift", "to full %", "same class %", "right %", "full's right %", "small's right %"]
    for own in record.demands:
        if own.threshold is None:
            show(f"{own.shifted_agreement}: no threshold; the full model would answer all")
            continue
        rows = [
            [
                at.images_of,
                at.shift or "as they are",
                *(
                    percent(count / at.images)
                    for count in (
                        at.escalated, at.images - at.differing, at.right, at.full_right, at.small_right,
                    )
                ),
            ]
            for at in own.cells
        ]  # fmt: skip
        demand = "as they are alone" if own.shifted_agreement is None else f"{own.shifted_agreement} under each shift"
        show_table(f"{demand}: threshold {own.threshold:.6g}", columns, rows, texts=2)
    if options.json:
        write_json(options.json, to_json(record))


if __name__ == "__main__":
    main()
