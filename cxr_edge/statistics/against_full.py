"""What a cascade loses compared with its full model."""

from __future__ import annotations

import numpy as np

from cxr_edge.artifacts.parity_result import PairedDifference
from cxr_edge.evaluation.cascade_fit import CascadeFigures
from cxr_edge.statistics.intervals import paired_difference


def accuracy_less_full(figures: CascadeFigures) -> PairedDifference | None:
    """A cascade's accuracy less its full model's, paired by image; None for figures of earlier versions."""
    if figures.lost is None:
        return None
    both = figures.full_right - figures.lost
    won = figures.right - both
    neither = figures.images - figures.lost - won - both
    counts = (both, figures.lost, won, neither)
    full = np.repeat([True, True, False, False], counts)
    cascade = np.repeat([True, False, True, False], counts)
    return paired_difference(full, cascade)
