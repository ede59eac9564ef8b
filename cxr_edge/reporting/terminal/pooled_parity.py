"""The parity over a cross-validation: the pooled tables, and a row for each fold."""

from __future__ import annotations

from collections.abc import Sequence

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.evaluation.advice import advise
from cxr_edge.evaluation.pooled_parity import PooledParity
from cxr_edge.reporting.terminal.accuracy_control import show_accuracy_control
from cxr_edge.reporting.terminal.parity import drop_cells, show_advice, show_left_out, show_parity
from cxr_edge.reporting.terminal.tables import percent, show, show_table


def show_pooled_parity(pooled: PooledParity) -> None:
    """Print a row per fold and artifact, then the tables of all folds together, then what was left out."""
    folds = len(pooled.artifacts[0].folds)
    show_table(
        f"Parity with Keras float32 by fold, each on its own test part ({folds} folds, 95 % intervals)",
        ["artifact", "fold", "images", "accuracy %", "drop", "", "same %", "lost/won", "verdict"],
        [
            [
                (fold.artifact or artifact.pooled.artifact).removeprefix("xception-"),
                str(fold.fold),
                str(fold.parity.images),
                percent(fold.parity.accuracy),
                *drop_cells(fold.parity.intervals.accuracy_difference, 2),
                percent(fold.parity.agreement),
                f"{fold.parity.mcnemar.only_reference_right}/{fold.parity.mcnemar.only_artifact_right}",
                "too few" if fold.parity.verdict == Verdict.UNDECIDED else fold.parity.verdict,
            ]
            for artifact in pooled.artifacts
            for fold in artifact.folds
        ],
    )
    show_parity(pooled.rows, phantoms=pooled.phantoms)
    show_advice(advise(pooled.rows))
    show_left_out(pooled.left_out)


def show_fold(number: int, folds: int, artifacts: Sequence[Artifact] | None, notes: Sequence[str] = ()) -> None:
    """Print what was exported of a fold, None for one that was exported before, and what else changed in its bundle."""
    what = "exported before with these options" if artifacts is None else ", ".join(each.name for each in artifacts)
    show(f"fold {number} of {folds}: {what}")
    for note in notes:
        show(f"  {note}")
    show_accuracy_control(artifacts or ())
