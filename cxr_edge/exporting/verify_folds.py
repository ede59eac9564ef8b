"""Parity over a cross-validation: each fold's artifacts against its Keras model on its test part, all folds pooled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.parity_result import ALL_PARTS, ParityResult
from cxr_edge.errors import ArtifactError, RunError
from cxr_edge.evaluation.conditions import LABELLED_PART, Scope
from cxr_edge.evaluation.demands import gate_of
from cxr_edge.evaluation.logits import floor_of
from cxr_edge.evaluation.pooled_parity import FoldParity, PooledArtifact, PooledParity
from cxr_edge.evaluation.verified_artifact import FlippedImage, VerifiedArtifact
from cxr_edge.exporting.verify import Probabilities, Reference, score_bundle
from cxr_edge.progress import Stage, silently, titled
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import finished_folds
from cxr_edge.statistics.agreement import compare_conditions, pooled_over_folds
from cxr_edge.statistics.parity import flipped, parity, with_conditions
from cxr_edge.training.folds import forget_models, require_same_images


@dataclass(frozen=True)
class _Scored:
    """One fold's artifact, the title of its runtime, and its probabilities under the conditions of the reference."""

    fold: int
    reference: Reference
    artifact: Artifact
    runtime: str
    answers: tuple[Probabilities, ...]


def verify_folds(
    folder: Path, demands: dict[str, float], shift_images: int, stage: Stage = silently, bundle: str | None = None
) -> PooledParity:
    """Compare the exported artifacts of each fold with its Keras model, and judge them on all test parts together.

    Args:
        folder: the folder of a finished cross-validation whose folds have all been exported.
        demands: arguments of `Gate` that override those the artifacts were exported with.
        shift_images: maximum number of images of each test part under each shift.
        stage: shows progress.
        bundle: the name of the bundle in each fold's folder; None for the one written last of those in all folds.

    Raises:
        RunError: there is no cross-validation, or a fold is unfinished or not exported.
        ArtifactError: the folds' bundles share no artifact; otherwise as `score_bundle`.
        DataError: images are unavailable, or the data changed between the folds.
        OptionError: a demand is not a share.
    """
    Gate(**demands).check()
    runs = finished_folds(folder)
    require_same_images(runs)
    bundles = _bundles(folder, runs, bundle)
    scope = Scope.of_folds(shift_images)
    scored: list[_Scored] = []
    for number, path in enumerate(bundles, start=1):
        scored_fold = score_bundle(path, scope, titled(stage, f"fold {number} of {len(bundles)}"))
        for artifact, runtime, answers in scored_fold.artifacts:
            scored.append(_Scored(number, scored_fold.reference, artifact, runtime, answers))
        forget_models()
    whole = _complete(scored, len(bundles))
    if not whole:
        raise ArtifactError(f"{folder}: no artifact is in every fold; {_again(folder)}")
    return PooledParity(
        data=runs[0].training_data,
        bundle=bundles[0].name,
        artifacts=tuple(_pooled(rows, demands) for rows in whole),
        left_out=tuple(
            f"{name}: only in {', '.join(f'fold {row.fold}' for row in rows)}"
            for name, rows in _by(lambda row: row.artifact.name, _others(scored, whole)).items()
        ),
    )


def _complete(scored: Sequence[_Scored], folds: int) -> list[list[_Scored]]:
    """One artifact per fold, by their names; and by what was requested where accuracy control left layers in float in
    some of the folds, so that their files are called mixed.
    """
    named = [rows for rows in _by(lambda row: row.artifact.name, scored).values() if len(rows) == folds]
    requested = _by(lambda row: f"{row.artifact.quantization.mixed()}.{row.artifact.format}", _others(scored, named))
    return named + [rows for rows in requested.values() if [row.fold for row in rows] == list(range(1, folds + 1))]


def _by(key: Callable[[_Scored], str], scored: Sequence[_Scored]) -> dict[str, list[_Scored]]:
    groups: dict[str, list[_Scored]] = {}
    for row in scored:
        groups.setdefault(key(row), []).append(row)
    return groups


def _others(scored: Sequence[_Scored], groups: Sequence[Sequence[_Scored]]) -> list[_Scored]:
    """The rows that are in none of the groups."""
    places = {(row.fold, row.artifact.name) for rows in groups for row in rows}
    return [row for row in scored if (row.fold, row.artifact.name) not in places]


def _again(folder: Path) -> str:
    return f"export all folds alike with cxr-edge export --run {folder}"


def _bundles(folder: Path, runs: Sequence[Run], name: str | None) -> list[Path]:
    """The bundles of all folds with a name; None for the one written last of those that every fold has."""
    manifests = [list(run.folder.glob("bundle*/manifest.json")) for run in runs]
    written = [{path.parent.name: path.stat().st_mtime for path in of_run} for of_run in manifests]
    names = {name} if name is not None else set(written[0])
    shared = names.intersection(*written)
    if not shared:
        lacking = [run.folder.name for run, bundles in zip(runs, written, strict=True) if not names & set(bundles)]
        what = f"no bundle named {name}" if name is not None else "no bundle in common with the other folds"
        raise RunError(f"{folder}: {', '.join(lacking) or 'a fold'} has {what}; {_again(folder)}")
    latest = max(shared, key=lambda own: max(bundles[own] for bundles in written))
    return [run.folder / latest for run in runs]


def _pooled(rows: Sequence[_Scored], demands: dict[str, float]) -> PooledArtifact:
    """One artifact per fold, under the name of one with layers in float, if there is any."""
    first = max((row.artifact for row in rows), key=lambda artifact: artifact.quantization.rank)
    gates = {gate_of(row.artifact, demands) for row in rows}
    if len(gates) > 1:
        raise ArtifactError(f"{first.name}: its folds were exported with different gates; export all folds alike")
    (gate,), floor, labels = gates, floor_of(first), rows[0].reference.split.labels
    if any(row.reference.split.labels != labels for row in rows):
        raise ArtifactError(f"{first.name}: its folds have different classes; train them again")
    pooled = VerifiedArtifact(
        artifact=first.name,
        bytes=max(row.artifact.bytes for row in rows),
        runtime=rows[0].runtime,
        part=LABELLED_PART,
        parity=_pooled_parity(rows, gate, floor),
        flipped=_flipped(rows),
    )
    folds = tuple(
        FoldParity(
            row.fold,
            row.artifact.sha256,
            row.artifact.metadata.training.model_sha256,
            row.reference.compare(row.answers, gate, floor),
            None if row.artifact.name == first.name else row.artifact.name,
        )
        for row in rows
    )
    return PooledArtifact(pooled, folds)


def _labelled(rows: Sequence[_Scored]) -> tuple[Probabilities, Probabilities, NDArray[np.int64]]:
    """The probabilities `[N, K]` of the Keras models and of the artifacts on all test parts, and the labels `[N]`."""
    return (
        np.concatenate([row.reference.probabilities[0] for row in rows]),
        np.concatenate([row.answers[0] for row in rows]),
        np.concatenate([row.reference.targets for row in rows]),
    )


def _pooled_parity(rows: Sequence[_Scored], gate: Gate, floor: float) -> ParityResult:
    labels = rows[0].reference.split.labels
    temperatures = np.concatenate([np.full((len(row.answers[0]), 1), row.reference.temperature) for row in rows])
    result = parity(*_labelled(rows), labels, gate, temperatures)
    conditions = compare_conditions(
        pooled_over_folds([row.reference.scored(row.answers) for row in rows]), labels, floor
    )
    # Only the test part was scored: rows for it alone would repeat those of all parts.
    return with_conditions(result, [condition for condition in conditions if condition.part == ALL_PARTS])


def _flipped(rows: Sequence[_Scored]) -> tuple[FlippedImage, ...]:
    names = [item.path for row in rows for item in row.reference.split.part(LABELLED_PART)]
    return flipped(*_labelled(rows), rows[0].reference.split.labels, names)
