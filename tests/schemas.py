"""The JSON Schemas in `docs/schemas`, and whether what commands write is as they say.

`python -m tests.schemas` writes the schemas again.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from cxr_edge.artifacts.installation import Installation
from cxr_edge.artifacts.metadata import ArtifactMetadata, Manifest
from cxr_edge.artifacts.release import Release
from cxr_edge.auditing.record import Audit
from cxr_edge.benchmarking.record import BenchRecord
from cxr_edge.evaluation.cascade_fit import CascadeFit
from cxr_edge.evaluation.int8_noise import Explanation
from cxr_edge.evaluation.operating_record import OperatingRecord
from cxr_edge.evaluation.pooled_parity import PooledCascades, PooledParity
from cxr_edge.evaluation.replay import ReplayResult
from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics, StudentMetrics
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact
from cxr_edge.inspection.inspect import CascadeInspection, Inspection
from cxr_edge.prediction.evaluation import Evaluation
from cxr_edge.prediction.prediction import PredictionBatch
from cxr_edge.runs.config import RunConfig
from cxr_edge.runs.history import History
from cxr_edge.runtimes.discovery import Devices
from documentation.json_schema import json_schema

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"
#: By the stem of the file: what is described, and where it is written.
WRITTEN: dict[str, tuple[Any, str]] = {
    "audit": (Audit, "audit --json"),
    "bench": (BenchRecord, "bench --json, and bench.json of a run"),
    "cascade-fit": (CascadeFit, "fitted of a manifest's cascade"),
    "cross-validation": (CrossValidation, "--json of train --folds, of shrink of folds, and cross_validation.json"),
    "devices": (Devices, "devices --json"),
    "evaluate": (Evaluation, "evaluate --json"),
    "history": (History, "history.json of a run"),
    "inspect": (Inspection, "inspect --json"),
    "inspect-cascade": (CascadeInspection, "inspect --json of a cascade"),
    "int8-noise": (Explanation, "export --explain-int8 --json"),
    "manifest": (Manifest, "manifest.json of a bundle"),
    "metadata": (ArtifactMetadata, "metadata inside an artifact"),
    "metrics": (RunMetrics, "train --json, and metrics.json of a run"),
    "operating-point": (OperatingRecord, "operating_point of an artifact's metadata, and of a manifest's artifact"),
    "pooled-cascades": (PooledCascades, "cascade --json of cross-validations"),
    "pooled-parity": (PooledParity, "verify --json and export --json of a cross-validation"),
    "predict": (PredictionBatch, "predict --json"),
    "installed": (Installation, "installed.json of a folder that install keeps"),
    "release": (Release, "release.json of a bundle"),
    "replay": (tuple[ReplayResult, ...], "verify --replay --json, and verify --json without TensorFlow"),
    "run": (RunConfig, "run.json of a run"),
    "student": (StudentMetrics, "shrink --json"),
    "verify": (tuple[VerifiedArtifact, ...], "verify --json, export --json and cascade --json"),
}
#: What `--json` of a command may write.
_OF_COMMAND = {
    **{name: (name,) for name in ("audit", "bench", "devices", "evaluate", "predict")},
    "cascade": ("verify", "pooled-cascades"),
    "inspect": ("inspect", "inspect-cascade"),
    "export": ("verify", "int8-noise", "pooled-parity"),
    "shrink": ("student", "cross-validation"),
    "train": ("metrics", "cross-validation"),
    "verify": ("verify", "replay", "pooled-parity"),
}
#: What a training and an export leave in the folder of the run.
_IN_RUN = {
    "run": "run.json",
    "history": "history.json",
    "metrics": "metrics.json",
    "cross-validation": "cross_validation.json",
    "manifest": "bundle*/manifest.json",
}


def schema_path(name: str) -> Path:
    return SCHEMAS / f"{name}.schema.json"


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    """Of a schema in which every key is described: later versions may add some, this one may not."""
    schema = json.loads(schema_path(name).read_text(encoding="utf-8"))
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return Draft202012Validator(schema)


def faults(name: str, record: Any) -> list[str]:
    """Where a record is not what its schema says."""
    return [f"{error.json_path}: {error.message[:200]}" for error in _validator(name).iter_errors(record)]


def check_written(arguments: Sequence[str]) -> None:
    """Assert that what a command wrote is what its schema says."""
    command, *others = arguments
    options = dict(itertools.pairwise(others))
    if "--json" in options and (path := Path(options["--json"])).is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        unfit = {name: faults(name, record) for name in _OF_COMMAND[command]}
        assert not all(unfit.values()), unfit
    if command in ("train", "shrink", "export") and "--run" in options:
        for name, path in _files_of(Path(options["--run"])):
            assert not faults(name, json.loads(path.read_text(encoding="utf-8"))), path


def _files_of(run: Path) -> Iterator[tuple[str, Path]]:
    for name, pattern in _IN_RUN.items():
        yield from ((name, path) for path in run.glob(pattern))


if __name__ == "__main__":
    for name, (kind, where) in WRITTEN.items():
        text = json.dumps(json_schema(kind, where), indent=2, ensure_ascii=False) + "\n"
        schema_path(name).write_text(text, encoding="utf-8")
