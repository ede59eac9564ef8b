"""Out-of-fold probabilities: every image of a cross-validation, scored by the model that never saw it (TensorFlow)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.data.cache import decoded
from cxr_edge.data.predictions import PREDICTED_PARTS, predictions_file, read_predictions, write_predictions
from cxr_edge.data.split import Split, run_split
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.temperature import apply_temperature, fit_temperature
from cxr_edge.option import flag_of
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import finished_folds, fold_runs, is_fold
from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

#: Options in which the folds may differ from the run that their probabilities represent.
_FREE = {"data", "phantoms", "seed", "fold", "folds", "precision", "strategy", "on_bad_image", "tensorboard", "mlflow"}


@dataclass(frozen=True)
class OutOfFold:
    """Probabilities `[N, K]`, scaled with each fold's own temperature, and label indices `[N]`."""

    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]


def folds_beside(run: Run) -> Path | None:
    """The folder of the cross-validation that a run is a fold of; None if it is not a fold, or a fold is unfinished."""
    folder = run.folder.resolve().parent
    return folder if is_fold(run) and all(fold.model_file.is_file() for fold in fold_runs(folder)) else None


def out_of_fold(folder: Path, run: Run) -> OutOfFold:
    """The probabilities of a cross-validation, for a run trained on the same data in the same way.

    Images of the run's test part are left out, so that anything fitted on the rest can be evaluated on that part.

    Args:
        folder: the folder of a `cxr-edge train --folds`.
        run: a fold of it, or another run.

    Raises:
        RunError: a fold is missing or unfinished.
        OptionError: the folds were trained differently.
    """
    folds = finished_folds(folder)
    require_same_training(folds, run)
    own_test = {item.sha256 for item in run_split(run).part("test")}
    probabilities, targets = [], []
    for fold in folds:
        split = run_split(fold)
        predicted = _predictions(fold, split)
        temperature = fit_temperature(predicted["validation"], split.targets("validation"))
        kept = [index for index, item in enumerate(split.part("test")) if item.sha256 not in own_test]
        probabilities.append(apply_temperature(predicted["test"][kept], temperature))
        targets.append(split.targets("test")[kept])
    return OutOfFold(np.concatenate(probabilities), np.concatenate(targets))


def require_same_training(folds: Sequence[Run], run: Run) -> None:
    """Raises OptionError unless each fold was trained, or made a student, in the same way as a run."""
    for fold in folds:
        _require_same_training(fold, run)


def _require_same_training(fold: Run, run: Run) -> None:
    fold_config, run_config = fold.config(), run.config()
    if fold_config.labels != run_config.labels:
        raise OptionError(f"{fold.folder}: its classes are not those of {run.folder}")
    student, other = fold_config.student, run_config.student
    free = _FREE
    if student is not None and other is not None and student.is_budget_known and other.is_budget_known:
        # Each teacher's own measurements decided on its student's network and, by latency, on its input size.
        if not student.is_made_like(other):
            raise OptionError(
                f"{fold.folder}: was made with other options of shrink than {run.folder}, or of another kind of teacher"
            )
        if student.latency is not None:
            free = _FREE | {"image_size"}
    elif fold_config.network != run_config.network:
        raise OptionError(f"{fold.folder}: its network is not that of {run.folder}")
    for name, value in asdict(run_config.options).items():
        fold_value = getattr(fold_config.options, name)
        if name not in free and fold_value != value:
            raise OptionError(
                f"{fold.folder} was trained with {flag_of(name)} {fold_value}, {run.folder} with {value}: its "
                "probabilities do not represent that run's"
            )


def _predictions(run: Run, split: Split) -> dict[str, NDArray[np.float32]]:
    """Read the predictions from the run's file, which is written first for a run that predates it."""
    if not predictions_file(run).is_file():
        model, size = compiled(load_classifier(run)), run.config().options.image_size
        probabilities = {part: predict_probabilities(model, decoded(split, part, size)) for part in PREDICTED_PARTS}
        write_predictions(run, split, probabilities)
    return read_predictions(run, split)
