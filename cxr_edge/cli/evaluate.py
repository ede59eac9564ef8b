"""`cxr-edge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.choices import OnBadImage
from cxr_edge.cli.options import JsonOption, RunOption, SignatureOption

_By = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        help="Also show figures per group of images: by a column of the table that lists them, such as source, or by a "
        "DICOM tag, such as PatientSex; or by sex, age (in bands) or view for short. Repeatable.",
        metavar="COLUMN",
    ),
]


def command(
    artifact: Annotated[
        Path | None,
        typer.Option(
            "--artifact",
            help="A single .tflite or .onnx file.",
            show_default="the run's Keras model",
            metavar="FILE",
        ),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Bundle folder, whose best artifact is evaluated.", metavar="DIR")
    ] = None,
    run: RunOption = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder with one folder per class, or a table of path,label; if it is split, its test part.",
            show_default="the run's test split",
            metavar="DIR|FILE.csv",
        ),
    ] = None,
    on_bad_image: Annotated[
        OnBadImage,
        typer.Option(
            "--on-bad-image", help="Refuse, or leave out, images that cannot be decoded or cannot be chest X-rays."
        ),
    ] = OnBadImage.FAIL,
    by: _By = None,
    require_signature: SignatureOption = None,
    json: JsonOption = None,
) -> None:
    """Compute classification metrics of an artifact, or of a run's Keras model, on labelled images."""
    from cxr_edge.artifacts.kinds import TrainingData
    from cxr_edge.console import stage
    from cxr_edge.files import write_json
    from cxr_edge.prediction.evaluate import evaluate
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.groups import show_groups
    from cxr_edge.reporting.terminal.metrics import show_metrics, show_skipped
    from cxr_edge.reporting.terminal.operating import show_calibration, show_evaluated_point
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import artifact_of

    evaluation = evaluate(artifact_of(artifact, bundle), data, run, on_bad_image, stage, by or ())
    for warning in evaluation.warnings:
        show(f"warning: {warning}")
    title = f"{evaluation.model}, {evaluation.part}"
    show_metrics(evaluation.metrics, title, evaluation.data is TrainingData.PHANTOMS)
    show_calibration(evaluation.calibration_error.error, evaluation.calibration_error.on_its_test_split)
    if evaluation.operating_point is not None:
        show_evaluated_point(evaluation.operating_point)
    for grouping in evaluation.groupings:
        show_groups(grouping)
    show_skipped([skipped.reason for skipped in evaluation.skipped], "--json lists them all")
    if json is not None:
        write_json(json, to_json(evaluation))
