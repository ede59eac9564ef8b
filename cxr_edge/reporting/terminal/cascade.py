"""A cascade's threshold and sensitivity, in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.parity_result import PairedDifference
from cxr_edge.evaluation.cascade_fit import CascadeFigures, CascadeFit, summed
from cxr_edge.evaluation.operating import USUAL_LABEL, operating_point_of, shown
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.reporting.terminal.metrics import with_bounds
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.wording import counted

_FIGURES = ("images", "to full %", "same class %", "right %", "full's right %", "missed (full's)")


def show_fit(fit: CascadeFit, less_full: PairedDifference | None) -> None:
    """Show the threshold, its figures on validation images (also shifted) and on test images, and its promises.

    `less_full` is the accuracy on test images less the full model's.
    """
    needed = "-" if fit.unshifted_threshold is None else shown(fit.unshifted_threshold)
    rows = [
        _row("validation", needed, fit.validation),
        *(_row(shifted.shift, shown(shifted.threshold), shifted.figures) for shifted in fit.shifts),
        _row("test", "-", fit.test),
    ]
    columns = ["part or shift", "needs %", *_FIGURES]
    show_table("Cascade against its full model", columns, rows, texts=1)
    _show_accuracy(fit.test, less_full)
    for line in fit_lines(fit):
        show(line)


def show_fold_fits(fits: Sequence[CascadeFit], less_full: PairedDifference | None) -> None:
    """Show each fold's threshold with its figures on the fold's test images, and those of all folds together.

    `less_full` is the accuracy over all folds less the full models'.
    """
    rows = [_row(f"fold {number}", shown(fit.threshold), fit.test) for number, fit in enumerate(fits, start=1)]
    every = summed([fit.test for fit in fits])
    rows.append(_row("all", "-", every))
    columns = ["fold", "threshold %", *_FIGURES]
    show_table("Cascades against their full models, each on its own test part", columns, rows, texts=1)
    _show_accuracy(every, less_full)
    for number, fit in enumerate(fits, start=1):
        for warning in fit.warnings:
            show(f"warning: fold {number}: {warning}")


def show_sensitivity(artifacts: Sequence[Artifact], rows: Sequence[VerifiedArtifact]) -> None:
    """Show the sensitivity to the class that a cascade must not miss, before all other figures."""
    for cascade in (artifact for artifact in artifacts if isinstance(artifact, Cascade)):
        point = operating_point_of(cascade.metadata.operating_point)
        label = USUAL_LABEL if point is None else point.sensitive_class
        for parity in (per_class for row in rows for per_class in row.parity.classes if per_class.label == label):
            show(
                f"{label}: sensitivity {with_bounds(parity.sensitivity.artifact)}, Keras "
                f"{with_bounds(parity.sensitivity.reference)}, on {counted(parity.images, 'image')}"
            )


def fit_lines(fit: CascadeFit) -> list[str]:
    """The rule, its promises, and what weakens them."""
    return [
        f"the small model answers from a top probability of {shown(fit.threshold)} % on, the full model below",
        fit.promise,
        *(f"warning: {warning}" for warning in fit.warnings),
    ]


def _show_accuracy(figures: CascadeFigures, less_full: PairedDifference | None) -> None:
    if less_full is None or less_full.value is None or figures.lost is None:
        return
    value, low, high = (f"{100 * (bound or 0.0):+.1f}" for bound in (less_full.value, less_full.low, less_full.high))
    won = figures.right - (figures.full_right - figures.lost)
    show(
        f"accuracy on test images less the full model's: {value} points (95 % interval {low} to {high}); only the full "
        f"model is right on {counted(figures.lost, 'image')}, only the cascade on {counted(won, 'image')}"
    )


def _row(part: str, needed: str, figures: CascadeFigures) -> list[str]:
    images = figures.images
    shares = (figures.escalated, images - figures.differing, figures.right, figures.full_right)
    missed = "-" if figures.missed is None else f"{figures.missed} ({figures.full_missed})"
    return [part, needed, str(images), *(percent(share / images) for share in shares), missed]
