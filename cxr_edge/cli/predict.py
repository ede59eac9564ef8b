"""`cxr-edge predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.choices import OnBadImage
from cxr_edge.cli.options import ArtifactOption, BundleOption, JsonOption, RunOption, SignatureOption, ThreadsOption

if TYPE_CHECKING:
    from cxr_edge.prediction.prediction import Answering, Prediction, PredictionBatch, SkippedImage
    from cxr_edge.reporting.terminal.predictions import PredictionCsv


def command(
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.")],
    artifact: ArtifactOption = None,
    bundle: BundleOption = None,
    run: RunOption = None,
    runtime: Annotated[
        str,
        typer.Option(
            "--runtime",
            help="auto measures once which one is fastest here.",
            metavar="auto|litert|onnx|openvino|onnx:cuda|...",
        ),
    ] = "auto",
    threads: ThreadsOption = None,
    heatmap: Annotated[
        Path | None,
        typer.Option(
            "--heatmap",
            help="Draw the evidence for the top class over the X-ray: a PNG, or a folder for several images.",
            metavar="FILE|DIR",
        ),
    ] = None,
    on_bad_image: Annotated[
        OnBadImage,
        typer.Option(
            "--on-bad-image",
            help="Skip and name images that cannot be read or cannot be chest X-rays, or stop at the first.",
        ),
    ] = OnBadImage.SKIP,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Also write one line per image to this file, as each is classified.", metavar="FILE"
        ),
    ] = None,
    require_signature: SignatureOption = None,
    json: JsonOption = None,
) -> None:
    """Classify images with one artifact."""
    from cxr_edge.errors import OptionError
    from cxr_edge.files import write_json
    from cxr_edge.prediction.classifier import Classifier
    from cxr_edge.prediction.predict import image_paths, predict_files, require_result_file
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.predictions import prediction_csv, show_notes
    from cxr_edge.runtimes.selection import model_path

    paths = image_paths(images)
    for option, target in (("--csv", csv), ("--json", json)):
        if target is not None:
            require_result_file(option, target, paths)
    if csv is not None and json is not None and csv.resolve() == json.resolve():
        raise OptionError(f"--csv and --json: both would write {csv}; name two files")
    classifier = Classifier.open(model_path(artifact, bundle, run), runtime, threads)
    answers = predict_files(classifier, paths, heatmap, on_bad_image)
    with prediction_csv(csv, classifier.answering) as lines:
        batch = _shown(answers, classifier.answering, paths, lines)
    show_notes(batch)
    if json is not None:
        write_json(json, to_json(batch))


def _shown(
    answers: Iterator[Prediction | SkippedImage], answering: Answering, paths: list[Path], lines: PredictionCsv | None
) -> PredictionBatch:
    """Show answers as they come; returns all of them."""
    from cxr_edge.prediction.prediction import PredictionBatch, SkippedImage
    from cxr_edge.reporting.terminal.predictions import PredictionTable, show_skipped_image

    predictions: list[Prediction] = []
    skipped: list[SkippedImage] = []
    table = None
    for answer in answers:
        table = table or PredictionTable(answering, [str(path) for path in paths])
        if isinstance(answer, SkippedImage):
            skipped.append(answer)
            show_skipped_image(answer)
        else:
            predictions.append(answer)
            table.row(answer)
        if lines is not None:
            lines.row(answer)
    return PredictionBatch(answering=answering, predictions=tuple(predictions), skipped=tuple(skipped))
