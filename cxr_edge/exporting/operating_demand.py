"""Which class an export's operating points must not miss, and which probabilities they are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.choices import nearest
from cxr_edge.data.split import Split
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.operating import USUAL_LABEL
from cxr_edge.evaluation.operating_figures import operating_figures
from cxr_edge.evaluation.operating_fit import Basis, fit_operating_point
from cxr_edge.evaluation.operating_record import OperatingRecord
from cxr_edge.runs import Run
from cxr_edge.training.out_of_fold import OutOfFold, folds_beside, out_of_fold

#: The demanded sensitivity unless another is stated.
USUAL_SENSITIVITY = 0.95


@dataclass(frozen=True)
class OperatingDemand:
    """The class not to be missed (one of a split's labels), the demanded sensitivity, and any cross-validation."""

    split: Split
    sensitive_class: str
    sensitivity: float
    folds: OutOfFold | None

    def record(self, validation: NDArray[np.float32]) -> OperatingRecord:
        """The operating point of an artifact, from its own probabilities `[N, K]` of the validation split."""
        labels, targets = self.split.labels, self.split.targets("validation")
        probabilities, known, basis = validation, targets, Basis.VALIDATION
        if self.folds is not None:
            probabilities, known, basis = self.folds.probabilities, self.folds.targets, Basis.OUT_OF_FOLD
        fitted = fit_operating_point(probabilities, known, labels, self.sensitive_class, self.sensitivity, basis)
        return OperatingRecord(fitted, operating_figures(fitted.point, validation, targets, labels))


def operating_demand(
    run: Run, split: Split, sensitive_class: str | None, sensitivity: float | None, folds: Path | None
) -> OperatingDemand | None:
    """The demand of a run's export; None if its classes lack `USUAL_LABEL` and no other class is named.

    Args:
        run: the run; if it is a fold of a finished cross-validation, the point is fitted on that.
        split: its split.
        sensitive_class: None for `USUAL_LABEL`.
        sensitivity: the demanded lower bound of the share of the class that is called or referred; None for
            `USUAL_SENSITIVITY`.
        folds: the folder of another cross-validation.

    Raises:
        OptionError: the class is not among the labels, the folds were trained differently from the run, or folds or a
            sensitivity are stated without a class to fit.
        RunError: the folds are missing or unfinished.
    """
    label = sensitive_class or USUAL_LABEL
    if label not in split.labels:
        if sensitive_class is not None:
            raise OptionError(f"--sensitive-class {label}: {nearest(label, split.labels)}")
        for option, is_stated in (("--folds", folds is not None), ("--sensitivity", sensitivity is not None)):
            if is_stated:
                raise OptionError(f"{option}: no class is called {USUAL_LABEL}; name one with --sensitive-class")
        return None
    folder = folds or folds_beside(run)
    demanded = USUAL_SENSITIVITY if sensitivity is None else sensitivity
    return OperatingDemand(split, label, demanded, None if folder is None else out_of_fold(folder, run))
