"""The options of training. A new option needs only a field in `TrainOptions`.

The command line, `--config`, `--like`, `run.json` and the check on resuming are derived from the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from cxr_edge.choices import OnBadImage, Precision, Resize, Strategy, choice_of
from cxr_edge.errors import OptionError
from cxr_edge.option import Option, Panel, declared, flag_of

IMAGENET, FROM_SCRATCH = "imagenet", "none"
#: Number of Xception's blocks.
_BLOCKS = 14


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The options of a training, complete; see `cxr-edge train --help` for each."""

    # A field without a default is in every `run.json`. A field added later needs a default, for earlier runs.

    data: Annotated[
        str | None,
        Option(
            Panel.DATA,
            "Folder with one folder per class (inside train/, validation/ and test/ if already split), or a table "
            "of path,label[,patient_id,source,split].",
            metavar="DIR|FILE.csv",
            shown_default="phantoms",
        ),
    ]
    # Below 71 px, nothing of the image reaches Xception's last block.
    image_size: Annotated[
        int, Option(Panel.DATA, "Width and height in pixels, at least 71.", default=160, phantoms=71, minimum=71)
    ]
    resize: Annotated[
        Resize,
        Option(Panel.DATA, "Stretch images to a square, or pad them with black; artifacts do the same."),
    ] = Resize.STRETCH
    phantoms: Annotated[int, Option(Panel.DATA, "Phantoms per class, without --data.", default=180, minimum=10)]
    on_bad_image: Annotated[
        OnBadImage, Option(Panel.DATA, "Leave out images that cannot be decoded, naming them, or refuse to start.")
    ] = OnBadImage.SKIP
    include: Annotated[
        tuple[str, ...],
        Option(Panel.DATA, "Read a class that is otherwise left out; repeatable.", metavar="lung-opacity"),
    ] = ()
    weights: Annotated[
        str,
        Option(
            Panel.TRAINING,
            "imagenet (official download), none (from scratch), or an .h5 file in the official no-top format.",
            default=IMAGENET,
            phantoms=FROM_SCRATCH,
            metavar="imagenet|none|FILE",
        ),
    ]
    epochs: Annotated[
        int, Option(Panel.TRAINING, "Epochs after those on the head alone.", default=8, from_scratch=7, minimum=1)
    ]
    head_epochs: Annotated[
        int,
        Option(
            Panel.TRAINING,
            "Epochs on the head alone, at the start.",
            default=2,
            from_scratch=0,
            minimum=0,
        ),
    ]
    frozen_blocks: Annotated[
        int,
        Option(
            Panel.TRAINING,
            "Number of Xception's 14 blocks, counted from the image, that keep their pre-trained weights.",
            minimum=0,
        ),
    ] = 0
    batch_size: Annotated[int, Option(Panel.TRAINING, "Images per step.", default=16, minimum=2)]
    learning_rate: Annotated[
        float, Option(Panel.TRAINING, "Peak learning rate, after a warm-up.", default=2e-4, from_scratch=1e-3)
    ]
    precision: Annotated[
        Precision,
        Option(
            Panel.TRAINING,
            "auto (mixed_float16 on a GPU; on a CPU float32 or mixed_bfloat16, whichever is faster), float32, "
            "mixed_bfloat16 or mixed_float16.",
            default=Precision.AUTO,
            metavar="PRECISION",
        ),
    ]
    seed: Annotated[
        int, Option(Panel.TRAINING, "Seed of the split, the weights and the batches.", default=0, minimum=0)
    ]
    strategy: Annotated[
        Strategy,
        Option(
            Panel.TRAINING,
            "none (one device), mirrored (all GPUs here) or multi-worker (this is one of the workers in TF_CONFIG); "
            "--batch-size is the total over all of them.",
            metavar="STRATEGY",
        ),
    ] = Strategy.NONE
    hold_out_source: Annotated[
        str | None, Option(Panel.SPLIT, "Test on all images of one source, and on no other.", metavar="NAME")
    ] = None
    folds: Annotated[
        int | None,
        Option(
            Panel.SPLIT,
            "Cross-validation: one run per fold, and figures over all of them.",
            minimum=2,
        ),
    ] = None
    fold: Annotated[int | None, Option(Panel.SPLIT, "Train only this fold, counted from 1.", minimum=1)] = None

    tensorboard: Annotated[
        bool, Option(Panel.OUTPUT, "Write TensorBoard logs to tensorboard/ in the run's folder (extra tensorboard).")
    ] = False
    mlflow: Annotated[
        bool,
        Option(Panel.OUTPUT, "Track the run in MLflow, at MLFLOW_TRACKING_URI (extra mlflow)."),
    ] = False

    def check(self) -> None:
        """Raises OptionError for a value that is unknown, out of range, or conflicts with another."""
        for name, (_, option) in declared(TrainOptions).items():
            value = getattr(self, name)
            if option.minimum is not None and value is not None and value < option.minimum:
                raise OptionError(f"{flag_of(name)} {value}: must be at least {option.minimum}")
        if self.weights not in (IMAGENET, FROM_SCRATCH) and not Path(self.weights).is_file():
            raise OptionError(f"{self.weights}: no such weights file; --weights takes imagenet, none or an .h5 file")
        self._check_split()
        if self.strategy is Strategy.MULTI_WORKER and self.folds is not None and self.fold is None:
            raise OptionError("--strategy multi-worker trains one run: train the folds one by one, with --fold")
        if self.seed > 2**31 - 1:
            raise OptionError(f"--seed {self.seed}: must be at most {2**31 - 1}")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate}: must be above 0 and below 1")
        if self.frozen_blocks and self.weights == FROM_SCRATCH:
            raise OptionError("--frozen-blocks must be 0 with --weights none, which trains all blocks")
        if self.frozen_blocks >= _BLOCKS:
            raise OptionError(f"--frozen-blocks {self.frozen_blocks}: must be below {_BLOCKS}, the number of blocks")

    def _check_split(self) -> None:
        if self.fold is not None and self.folds is None:
            raise OptionError("--fold needs --folds, the number of folds")
        if self.fold is not None and self.fold > (self.folds or 0):
            raise OptionError(f"--fold {self.fold}: must be at most --folds {self.folds}")
        if self.folds is not None and self.hold_out_source is not None:
            raise OptionError("--folds and --hold-out-source both choose the test part; use only one of them")
        if self.data is None and (self.include or self.hold_out_source):
            raise OptionError("--include and --hold-out-source need --data")


def stated_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a user stated, by their names in `TrainOptions`: all but None, False and empty ones.

    Paths become absolute: a run may be resumed from another folder. A value gets the type of its field.
    """
    names = {field.name for field in fields(TrainOptions)}
    stated = {
        name: value
        for name, value in values.items()
        if name in names and value is not None and value is not False and value not in ((), [])
    }
    if "data" in stated:
        stated["data"] = str(Path(stated["data"]).resolve())
    if stated.get("weights") not in (None, IMAGENET, FROM_SCRATCH):
        stated["weights"] = str(Path(stated["weights"]).resolve())
    return {name: _typed(name, value) for name, value in stated.items()}


def completed(stated: Mapping[str, Any]) -> TrainOptions:
    """The stated options, by their names in `TrainOptions`, completed with defaults.

    Defaults: transfer learning for real data, a short training from scratch for the phantoms.

    Raises:
        OptionError: as `TrainOptions.check`.
    """
    if "phantoms" in stated and "data" in stated:
        raise OptionError("--phantoms and --data cannot be combined")
    phantoms = stated.get("data") is None
    options = {name: option for name, (_, option) in declared(TrainOptions).items()}
    weights = stated.get("weights") or options["weights"].default_for(phantoms=phantoms, from_scratch=False)
    defaults = {
        field.name: options[field.name].default_for(phantoms=phantoms, from_scratch=weights == FROM_SCRATCH)
        for field in fields(TrainOptions)
        if field.default is MISSING
    }
    complete = TrainOptions(**{**defaults, **{name: _typed(name, value) for name, value in stated.items()}})
    complete.check()
    return complete


def _typed(name: str, value: Any) -> Any:
    kind, _ = declared(TrainOptions)[name]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return choice_of(kind, value, flag_of(name))
    return tuple(value) if isinstance(value, list) else value


def require_shared_run(stated: Mapping[str, Any], run: Path | None, resuming: bool) -> None:
    """Raises OptionError if each worker would create its own run, named after the time."""
    if stated.get("strategy") is Strategy.MULTI_WORKER and run is None and not resuming:
        raise OptionError("--strategy multi-worker needs --run: a folder that all workers share")


def require_same(options: TrainOptions, stated: Mapping[str, Any], folder: Path) -> None:
    """Raises OptionError if an option stated to resume a run differs from the one the run was started with."""
    started = asdict(options)
    for name, value in stated.items():
        if started[name] != value:
            raise OptionError(
                f"{folder} was started with {flag_of(name)} {started[name]}, not {value}; "
                "leave the option out to resume it"
            )
