"""What a training is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cxr_edge.choices import OnBadImage, Precision, Resize, choice_of
from cxr_edge.errors import OptionError

#: Below it, Xception's last block sees no image any more.
MIN_IMAGE_SIZE = 71
IMAGENET, FROM_SCRATCH = "imagenet", "none"


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training, complete; see `cxr-edge train --help` for each."""

    #: A folder or a table; None for phantoms.
    data: str | None
    image_size: int
    weights: str
    head_epochs: int
    epochs: int
    batch_size: int
    learning_rate: float
    precision: Precision
    seed: int
    phantoms: int
    resize: Resize = Resize.STRETCH
    on_bad_image: OnBadImage = OnBadImage.SKIP
    include: tuple[str, ...] = ()
    hold_out_source: str | None = None
    folds: int | None = None
    fold: int | None = None

    def check(self) -> None:
        """Raises OptionError for a value that is unknown, out of range, or does not go with another."""
        if self.image_size < MIN_IMAGE_SIZE:
            raise OptionError(f"image size {self.image_size}: Xception takes {MIN_IMAGE_SIZE} px and more")
        if self.weights not in (IMAGENET, FROM_SCRATCH) and not Path(self.weights).is_file():
            raise OptionError(f"{self.weights}: no such weights file; --weights takes imagenet, none or an .h5 file")
        self._check_parts()
        for name, least in (("epochs", 1), ("head_epochs", 0), ("batch_size", 2), ("phantoms", 10), ("seed", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least {least} is needed")
        if self.seed > 2**31 - 1:
            raise OptionError(f"--seed {self.seed}: at most {2**31 - 1}")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate}: choose one above 0 and below 1")

    def _check_parts(self) -> None:
        if self.folds is not None and self.folds < 2:
            raise OptionError(f"--folds {self.folds}: at least 2 are needed")
        if self.fold is not None and self.folds is None:
            raise OptionError("--fold says which of --folds test parts this run has: give that too")
        if self.fold is not None and not 1 <= self.fold <= (self.folds or 0):
            raise OptionError(f"--folds {self.folds} --fold {self.fold}: the first fold is 1")
        if self.folds is not None and self.hold_out_source is not None:
            raise OptionError("--folds and --hold-out-source both choose the test part; give one of them")
        if self.data is None and (self.include or self.hold_out_source):
            raise OptionError("--include and --hold-out-source need --data")


def given_options(data: Path | None, others: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, by the names in `TrainOptions`; None and empty lists stand for what was not.

    Paths become absolute: a run may be resumed from another folder.
    """
    given = {name: value for name, value in others.items() if value not in (None, [])}
    if data is not None:
        given["data"] = str(data.resolve())
    if given.get("weights") not in (None, IMAGENET, FROM_SCRATCH):
        given["weights"] = str(Path(given["weights"]).resolve())
    if "include" in given:
        given["include"] = tuple(given["include"])
    return given


def completed(given: Mapping[str, Any]) -> TrainOptions:
    """The given options, by their names in `TrainOptions`, and defaults for the rest.

    Defaults: transfer learning for real data, a short training from scratch for the phantoms.

    Raises:
        OptionError: for what `TrainOptions.check` refuses.
    """
    if "phantoms" in given and "data" in given:
        raise OptionError("--phantoms has no meaning together with --data")
    data = given.get("data")
    weights = given.get("weights") or (IMAGENET if data else FROM_SCRATCH)
    transfer = weights != FROM_SCRATCH
    defaults = TrainOptions(
        data=data,
        image_size=160 if data else 71,
        weights=weights,
        head_epochs=2 if transfer else 0,
        epochs=8 if transfer else 7,
        batch_size=16,
        learning_rate=2e-4 if transfer else 1e-3,
        precision=Precision.AUTO,
        seed=0,
        phantoms=180,
    )
    options = replace(defaults, **_typed(given))
    options.check()
    return options


def _typed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    typed = dict(given)
    if "precision" in typed:
        typed["precision"] = choice_of(Precision, typed["precision"], "--precision")
    if "resize" in typed:
        typed["resize"] = choice_of(Resize, typed["resize"], "--resize")
    if "on_bad_image" in typed:
        typed["on_bad_image"] = choice_of(OnBadImage, typed["on_bad_image"], "--on-bad-image")
    return typed


def require_same(options: TrainOptions, given: Mapping[str, Any], folder: Path) -> None:
    """Raises OptionError where an option given to resume a run is not what the run was started with."""
    started = asdict(options)
    for name, value in given.items():
        if started[name] != value:
            raise OptionError(
                f"{folder} was started with --{name.replace('_', '-')} {started[name]}, not {value}; "
                "leave the option out to resume it"
            )
