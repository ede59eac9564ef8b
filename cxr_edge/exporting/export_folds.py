"""Export each fold of a cross-validation in the same way, and judge the artifacts on all test parts together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_edge import __version__
from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.errors import CxrEdgeError, OptionError
from cxr_edge.evaluation.pooled_parity import PooledParity
from cxr_edge.exporting.export import Exported, Exporter, ExportOptions
from cxr_edge.exporting.verify_folds import verify_folds
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded, sha256_of, write_json
from cxr_edge.progress import Stage, silently, titled
from cxr_edge.quantization.quantized_run import CALIBRATION_METHOD, FINE_TUNING_METHOD
from cxr_edge.records import JsonObject, from_json, to_json
from cxr_edge.runs import Run
from cxr_edge.runs.cross_validation import finished_folds
from cxr_edge.runs.lock import locked
from cxr_edge.training.folds import forget_models, require_same_images
from cxr_edge.training.out_of_fold import require_same_training

#: Images of each fold's test part under each shift, as for an export of a single run.
SHIFT_IMAGES = 60
RECORD = "exported.json"
#: The version, the methods of quantization, the models' SHA-256 and the options, as in `FoldExport`.
_Key = tuple[str, tuple[str, ...], tuple[str, ...], JsonObject]


@dataclass(frozen=True)
class FoldExport:
    """A fold's `exported.json`: how the last export of all folds exported it, and each file's SHA-256.

    `methods` are those of quantization. `models` has the SHA-256 of every fold's model: the decision rule is fitted on
    the predictions of all folds.
    """

    cxr_edge: str
    methods: tuple[str, ...]
    models: tuple[str, ...]
    options: JsonObject
    artifacts: dict[str, str]


def export_folds(
    folder: Path,
    options: ExportOptions,
    stage: Stage = silently,
    on_fold: Callable[[int, int, Exported | None], None] = lambda number, folds, exported: None,
) -> PooledParity:
    """Export the folds that are not exported with these options yet, and compare all of them with their Keras models.

    If the model of one fold has changed, all are exported again: their decision rules are fitted on it too.

    Args:
        folder: the folder of a finished cross-validation.
        options: for each fold's export; the decision rules are fitted on the cross-validation.
        stage: shows progress.
        on_fold: called with the fold's number, the number of folds, and what was exported, None if it already was.

    Raises:
        OptionError: the options name another cross-validation for the decision rules, or the folds were trained
            differently; otherwise as `Exporter.export`.
        RunError, ArtifactError, DataError, GateError: as `Exporter.export` and `verify_folds`.
    """
    if options.folds is not None:
        raise OptionError("--folds: the decision rules of folds are fitted on their own cross-validation; leave it out")
    runs = finished_folds(folder)
    with locked(folder):
        # Before hours of exports rather than after them, in `verify_folds`.
        require_same_images(runs)
        require_same_training(runs, runs[0])
        key = _key(runs, options)
        for number, run in enumerate(runs, start=1):
            exported: Exported | None = None
            if not _is_exported(run, options, key):
                exporter = Exporter(run, options, titled(stage, f"fold {number} of {len(runs)}"))
                exported = exporter.export()
                files = {artifact.name: artifact.sha256 for artifact in exported.artifacts}
                write_json(run.folder / RECORD, to_json(FoldExport(*key, files)))
                del exporter
                forget_models()
            on_fold(number, len(runs), exported)
        return verify_folds(folder, {}, SHIFT_IMAGES, stage, runs[0].bundle_of(options.recipe.name).name)


def _key(runs: Sequence[Run], options: ExportOptions) -> _Key:
    models = tuple(sha256_of(run.model_file) for run in runs)
    return __version__, (CALIBRATION_METHOD, FINE_TUNING_METHOD), models, to_json(options)


def _is_exported(run: Run, options: ExportOptions, key: _Key) -> bool:
    """Whether the fold's bundle still has the files of an export with this key."""
    try:
        last = from_json(FoldExport, json.loads(read_bounded(run.folder / RECORD, MAX_RECORD_BYTES)))
        bundle = run.bundle_of(options.recipe.name)
        listed = {artifact.name: artifact for artifact in listed_artifacts(bundle)}
        return (last.cxr_edge, last.methods, last.models, last.options) == key and all(
            name in listed and listed[name].sha256 == digest == sha256_of(bundle / name)
            for name, digest in last.artifacts.items()
        )
    except (OSError, ValueError, CxrEdgeError):
        # Not exported, by an earlier version, or changed since: exporting it again puts that right.
        return False
