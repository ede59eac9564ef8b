"""What a model card is made of: the bundle's own metadata, and the records in its run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import listed_artifacts, read_manifest, require_any
from cxr_edge.artifacts.metadata import SharedMetadata, Training
from cxr_edge.auditing.record import Audit
from cxr_edge.benchmarking.record import BenchRecord, read_record
from cxr_edge.data.layouts import PARTS
from cxr_edge.data.split import split_items
from cxr_edge.errors import ArtifactError, CxrEdgeError, first_line
from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics, read_run_metrics
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact, recorded
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded, sha256_of
from cxr_edge.prediction.evaluation import TEST_SPLIT, Evaluation
from cxr_edge.records import from_json, parse_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.cross_validation import is_fold
from cxr_edge.wording import counted

Record = TypeVar("Record")


@dataclass(frozen=True)
class RunRecords:
    """The records of the run that a bundle was exported from.

    `parts` counts the images of each part of the split by label. `bench` and `evaluations` hold only what was measured
    on files of the bundle. What was never recorded is None, or empty.
    """

    config: RunConfig
    parts: dict[str, dict[str, int]]
    metrics: RunMetrics | None
    cross_validation: CrossValidation | None
    audit: Audit | None
    bench: BenchRecord | None
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True)
class Evidence:
    """A bundle, the parity of its verified artifacts at export, and its run's records; None without its run.

    `notes` say what was left out, and why, one per line.
    """

    artifacts: tuple[Artifact, ...]
    parity: tuple[VerifiedArtifact, ...]
    run: RunRecords | None
    notes: tuple[str, ...]

    @property
    def shared(self) -> SharedMetadata:
        return self.artifacts[0].metadata.shared

    @property
    def training(self) -> Training:
        return self.shared.training


def evidence_of(bundle: Path, run: Run | None) -> Evidence:
    """Collect what is known about a bundle.

    Args:
        bundle: its folder.
        run: the run that it may come from; its records count only if it holds the bundle's model.

    Raises:
        ArtifactError: there is no bundle, or it is damaged or empty.
    """
    artifacts = tuple(listed_artifacts(bundle))
    require_any(artifacts, bundle)
    notes: list[str] = []
    parity = []
    for artifact in artifacts:
        try:
            parity.append(recorded(artifact))
        except ArtifactError as error:
            notes.append(str(error))
    records = None
    if run is not None and run.config_file.is_file():
        records = _records_of(run, read_manifest(bundle).shared.training, artifacts, notes)
    return Evidence(artifacts, tuple(parity), records, tuple(notes))


def _records_of(run: Run, training: Training, artifacts: Sequence[Artifact], notes: list[str]) -> RunRecords | None:
    config, model = run.config(), run.model_file
    if config.data_sha256 != training.data_sha256 or not model.is_file() or sha256_of(model) != training.model_sha256:
        notes.append(f"{run.folder}: holds another model than the bundle; none of its records is in the model card")
        return None
    folds = run.folder.parent / "cross_validation.json"
    hashes = {artifact.sha256 for artifact in artifacts}
    return RunRecords(
        config=config,
        parts=_parts(run, config),
        metrics=_read(run.metrics_file, read_run_metrics, notes),
        cross_validation=_read(folds, _read_cross_validation, notes) if is_fold(run) else None,
        audit=_read(run.audit_file, lambda path: Audit.from_json(_json(path)), notes),
        bench=_bench(run.bench_file, hashes, notes),
        evaluations=_evaluations(run.evaluation_files, hashes, notes),
    )


def _parts(run: Run, config: RunConfig) -> dict[str, dict[str, int]]:
    counts = Counter((item.part, item.label) for item in split_items(run.split_file, config.labels))
    return {part: {label: counts[part, label] for label in config.labels} for part in PARTS}


def _bench(path: Path, hashes: Collection[str], notes: list[str]) -> BenchRecord | None:
    record = _read(path, read_record, notes)
    if record is not None and not any(row.sha256 in hashes for row in record.rows):
        notes.append(f"{path}: measured on other files than the bundle's; not in the model card, bench again")
        return None
    return record


def _evaluations(paths: Sequence[Path], hashes: Collection[str], notes: list[str]) -> tuple[Evaluation, ...]:
    evaluations = []
    for path in paths:
        evaluation = _read(path, lambda path: from_json(Evaluation, _json(path)), notes)
        if evaluation is None:
            continue
        if evaluation.artifact_sha256 not in hashes:
            notes.append(f"{path}: evaluates a file that is not the bundle's; not in the model card, evaluate again")
        elif evaluation.part != TEST_SPLIT and evaluation.in_split is None:
            notes.append(
                f"{path}: does not say whether the model was made with its images; not in the model card, evaluate "
                "again with --run"
            )
        elif known := sum((evaluation.in_split or {}).values()):
            notes.append(
                f"{path}: {known} of {counted(evaluation.metrics.images, 'image')} are in the data of the model's own "
                "run; not in the model card"
            )
        else:
            evaluations.append(evaluation)
    return tuple(evaluations)


def _read(path: Path, reader: Callable[[Path], Record], notes: list[str]) -> Record | None:
    """A record; None if the file is missing, and None with a note if it cannot be read."""
    if not path.is_file():
        return None
    try:
        return reader(path)
    except (CxrEdgeError, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        notes.append(f"{path}: no record that this version can read ({first_line(error)}); not in the model card")
        return None


def _read_cross_validation(path: Path) -> CrossValidation:
    return CrossValidation.from_json(_json(path))


def _json(path: Path) -> Any:
    return parse_json(read_bounded(path, MAX_RECORD_BYTES))
