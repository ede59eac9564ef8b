"""The options of `cxr-edge shrink`; the command line derives from the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cxr_edge.errors import OptionError
from cxr_edge.option import Option, Panel, declared
from cxr_edge.train_options import TrainOptions

#: Multiply-accumulates of a student whose budget is not stated.
DEFAULT_MACS = 0.25
_SMALLEST = declared(TrainOptions)["image_size"][1].minimum or 1
#: Shares of the teacher's input size.
_SEARCHED_SIZES = (1.0, 0.875, 0.75)


@dataclass(frozen=True, kw_only=True)
class ShrinkOptions:
    """How small a student becomes and how it is trained; see `cxr-edge shrink --help` for each."""

    macs: Annotated[
        float | None,
        Option(
            Panel.TRAINING,
            "Multiply-accumulates of the student as a share of the teacher's, each at its own image size.",
            shown_default=f"{DEFAULT_MACS}, without --latency",
        ),
    ] = None
    latency: Annotated[
        float | None,
        Option(
            Panel.TRAINING,
            "Instead of --macs: int8 latency of the student as a share of the teacher's, measured on this machine with "
            "one thread.",
        ),
    ] = None
    image_size: Annotated[
        int | None,
        Option(
            Panel.DATA,
            "Pixels, at least 71; fewer leave room for more channels.",
            shown_default="the teacher's; with --latency, searched",
        ),
    ] = None
    unlabelled: Annotated[
        tuple[str, ...],
        Option(Panel.DATA, "Folder of additional, unlabelled images to learn from; repeatable.", metavar="DIR"),
    ] = ()
    epochs: Annotated[int, Option(Panel.TRAINING, "Epochs of distillation.", minimum=1)] = 20
    learning_rate: Annotated[float, Option(Panel.TRAINING, "Peak, after a warm-up.")] = 5e-4

    @property
    def macs_budget(self) -> float | None:
        """The budget of multiply-accumulates, stated or not; None with a budget of latency."""
        return None if self.latency is not None else self.macs or DEFAULT_MACS

    def check(self, teacher: TrainOptions) -> None:
        """Raises OptionError for a value that is out of range, or that does not go with a teacher's options."""
        if self.macs is not None and self.latency is not None:
            raise OptionError("--macs, --latency: a student has one budget; leave one of them out")
        for flag, share in (("--macs", self.macs), ("--latency", self.latency)):
            if share is not None and not 0 < share <= 1:
                raise OptionError(f"{flag} {share}: must be a share above 0 and at most 1")
        if self.image_size is not None and not _SMALLEST <= self.image_size <= teacher.image_size:
            raise OptionError(
                f"--image-size {self.image_size}: choose from {_SMALLEST} to the teacher's {teacher.image_size}"
            )
        if self.epochs < 1:
            raise OptionError(f"--epochs {self.epochs}: must be at least 1")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate}: must be above 0 and below 1")

    def image_sizes(self, teacher: TrainOptions) -> tuple[int, ...]:
        """The input sizes that the student's is chosen from, in pixels, the largest first."""
        if self.image_size is not None or self.latency is None:
            return (self.image_size or teacher.image_size,)
        sizes = (round(share * teacher.image_size) for share in _SEARCHED_SIZES)
        return tuple(size for size in sizes if size >= _SMALLEST)


def shrink_options(stated: Mapping[str, Any]) -> ShrinkOptions:
    """The stated options, by their names in `ShrinkOptions`, completed with defaults; folders become absolute."""
    values = {name: value for name, value in stated.items() if value is not None and name in declared(ShrinkOptions)}
    folders = values.pop("unlabelled", ())
    return ShrinkOptions(unlabelled=tuple(str(Path(folder).resolve()) for folder in folders), **values)
