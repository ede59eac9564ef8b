"""The options of `cxr-edge shrink`; the command line derives from the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cxr_edge.errors import OptionError
from cxr_edge.option import Option, Panel, declared
from cxr_edge.train_options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class ShrinkOptions:
    """How small a student becomes and how it is trained; see `cxr-edge shrink --help` for each."""

    macs: Annotated[
        float, Option(Panel.TRAINING, "Multiply-accumulates of the student as a share of the teacher's at its size.")
    ] = 0.25
    image_size: Annotated[
        int | None,
        Option(Panel.DATA, "Pixels, at least 71; fewer leave room for more channels.", shown_default="the teacher's"),
    ] = None
    unlabelled: Annotated[
        tuple[str, ...],
        Option(
            Panel.DATA, "Folder of more images to learn from, whose labels are not needed; repeatable.", metavar="DIR"
        ),
    ] = ()
    epochs: Annotated[int, Option(Panel.TRAINING, "Epochs of distillation.", minimum=1)] = 20
    learning_rate: Annotated[float, Option(Panel.TRAINING, "Peak, after a warm-up.")] = 5e-4

    def check(self, teacher: TrainOptions) -> None:
        """Raises OptionError for a value that is out of range, or that does not go with a teacher's options."""
        if not 0 < self.macs <= 1:
            raise OptionError(f"--macs {self.macs}: a share above 0 and up to 1 is needed")
        smallest = declared(TrainOptions)["image_size"][1].minimum or 1
        if self.image_size is not None and not smallest <= self.image_size <= teacher.image_size:
            raise OptionError(
                f"--image-size {self.image_size}: choose from {smallest} to the teacher's {teacher.image_size}"
            )
        if self.epochs < 1:
            raise OptionError(f"--epochs {self.epochs}: at least 1 is needed")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate}: choose one above 0 and below 1")


def shrink_options(stated: Mapping[str, Any]) -> ShrinkOptions:
    """The stated options, by their names in `ShrinkOptions`, completed with defaults; folders become absolute."""
    values = {name: value for name, value in stated.items() if value is not None and name in declared(ShrinkOptions)}
    folders = values.pop("unlabelled", ())
    return ShrinkOptions(unlabelled=tuple(str(Path(folder).resolve()) for folder in folders), **values)
