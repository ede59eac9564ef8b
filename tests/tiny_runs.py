"""The folder of a run with a tiny bundle: what reads runs and their records is tested without training a model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxr_edge.artifacts.bundle import write_manifest
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization, TrainingData
from cxr_edge.artifacts.metadata import Training
from cxr_edge.benchmarking.record import read_record
from cxr_edge.data.layouts import PARTS
from cxr_edge.data.split import Split, SplitItem, write_split
from cxr_edge.files import sha256_of, write_json
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from tests.artifacts import OLD, old_record
from tests.tiny import write_artifact

LABELS = ("COVID-19", "Viral Pneumonia", "Normal")


def write_run(folder: Path, **changes: Any) -> Run:
    """A run on images that are not there, with int8 in both formats in its bundle and a Keras model of no use.

    `changes` are fields of the artifacts' metadata.
    """
    run = Run(folder)
    run.bundle.mkdir(parents=True)
    run.model_file.write_bytes(b"a Keras model")
    record = old_record("run.json")
    record["options"]["data"] = "/home/ada/x-rays"
    write_json(run.config_file, record)
    config = run.config()
    items = [
        SplitItem(f"{label}/{part}{index}.png", label, part, "", "0" * 64)
        for label in LABELS
        for part, images in zip(PARTS, (126, 27, 27), strict=True)
        for index in range(images)
    ]
    write_split(Split(Path(), LABELS, tuple(items)), run.split_file)
    shutil.copyfile(OLD / "metrics.json", run.metrics_file)
    training = Training(
        TrainingData.IMAGES, config.images, config.data_sha256, sha256_of(run.model_file), config.started
    )
    write_int8(run.bundle, **{"training": training, **changes})
    return run


def write_int8(bundle: Path, **changes: Any) -> None:
    """int8 in both formats and their manifest; `changes` are fields of the metadata."""
    artifacts = [
        write_artifact(bundle / f"xception-int8.{kind}", Quantization.INT8, **changes) for kind in ArtifactFormat
    ]
    write_manifest(bundle, artifacts[0].metadata.shared, artifacts)


def write_bench(run: Run, **changes: Any) -> None:
    """A record of a benchmark whose first row is of the run's TFLite file, the others of files of another bundle.

    `changes` are fields of that row.
    """
    record = read_record(OLD / "bench.json")
    first = replace(record.rows[0], sha256=sha256_of(run.bundle / "xception-int8.tflite"), **changes)
    write_json(run.bench_file, to_json(replace(record, rows=(first, *record.rows[1:]))))
