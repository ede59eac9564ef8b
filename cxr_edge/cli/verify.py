"""`cxr-edge verify`: against Keras if available, otherwise by replay of the reference inputs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.api import SHIFT_IMAGES, TRAIN_IMAGES
from cxr_edge.cli.gate_options import GateOptions
from cxr_edge.cli.options import (
    ArtifactsOption,
    BundleOption,
    JsonOption,
    RunOrFoldsOption,
    SignatureOption,
)
from cxr_edge.cli.spread import spread

if TYPE_CHECKING:
    from cxr_edge.runtimes.selection import Selection


_Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Also compare on other images: any folder or table, with or without labels.",
        metavar="DIR|FILE.csv",
    ),
]
_TrainImages = Annotated[
    int | None,
    typer.Option(
        "--train-images", help="Maximum number of training images to compare on.", min=1, show_default=str(TRAIN_IMAGES)
    ),
]
_ShiftImages = Annotated[
    int | None,
    typer.Option(
        "--shift-images",
        help="Maximum number of images per part to compare on under each shift.",
        min=1,
        show_default=str(SHIFT_IMAGES),
    ),
]
_Replay = Annotated[
    bool,
    typer.Option(
        "--replay",
        help="Compare the recorded reference outputs with what each runtime computes here; needs neither the Keras "
        "model nor patient images. The default without TensorFlow, and with --artifact.",
    ),
]
_Threads = Annotated[
    int | None,
    typer.Option("--threads", help="With --replay: threads per inference.", show_default="all usable cores", min=1),
]
_Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime", help="With --replay; repeatable.", show_default="all installed", metavar="litert|onnx|openvino|..."
    ),
]


@spread("gate")
def command(
    gate: GateOptions,
    artifacts: ArtifactsOption = None,
    bundle: BundleOption = None,
    run: RunOrFoldsOption = None,
    data: _Data = None,
    train_images: _TrainImages = None,
    shift_images: _ShiftImages = None,
    replay: _Replay = False,
    runtimes: _Runtimes = None,
    threads: _Threads = None,
    require_signature: SignatureOption = None,
    json: JsonOption = None,
) -> None:
    """Compare each artifact with the Keras model, on all parts of the split and under shifts, or with recorded outputs.

    On a device without TensorFlow, replay the recorded reference outputs. If --run is the folder of a
    cross-validation, the artifacts of all folds are judged together, each on its own test part; --bundle then names the
    bundle in each fold, such as bundle-cascade. Exit status 3 if an artifact fails.
    """
    from cxr_edge.errors import OptionError
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runs.cross_validation import cross_validation_named
    from cxr_edge.runtimes.selection import select

    if (cross_validation := cross_validation_named(run)) is not None:
        if artifacts or data or replay or runtimes or threads or train_images:
            raise OptionError(
                f"{cross_validation} holds folds, for which only --bundle, the gate's options, --shift-images and "
                f"--json apply; to use others, name a single fold, such as --run {cross_validation / 'fold-1'}"
            )
        _folds(cross_validation, None if bundle is None else bundle.name, gate.demanded(), shift_images, json)
        return
    selection = select(artifacts or (), bundle, run)
    folder = selection.folder
    reason = "only single files were named" if folder is None else _without_keras(folder)
    if folder is None or replay or reason is not None:
        if gate.demanded() or data or train_images or shift_images:
            others = "--data needs" if data else "--train-images and --shift-images need"
            what = "the gate's demands need" if gate.demanded() else others
            raise OptionError(f"{what} the Keras model{f', but {reason}' if reason else '; leave out --replay'}")
        if not replay:
            show(f"{reason}: comparing with the outputs recorded at export instead of the Keras model")
        _replay(selection, runtimes, threads, json)
        return
    if runtimes or threads:
        raise OptionError(
            f"--{'runtime' if runtimes else 'threads'} needs --replay; against Keras each format runs on its preferred "
            "runtime, on all cores"
        )
    images = train_images or TRAIN_IMAGES, shift_images or SHIFT_IMAGES
    _against_keras(folder, gate.demanded(), images, data, json)


def _against_keras(
    folder: Path, demands: dict[str, float], images: tuple[int, int], data: Path | None, json: Path | None
) -> None:
    from cxr_edge.artifacts.bundle import listed_artifacts
    from cxr_edge.artifacts.metadata import NOTICE
    from cxr_edge.console import stage
    from cxr_edge.evaluation.advice import advise
    from cxr_edge.evaluation.conditions import Scope
    from cxr_edge.exporting.verify import verify_bundle
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.cascade import show_sensitivity
    from cxr_edge.reporting.terminal.parity import gate_parity, show_advice, show_left_out, show_parity
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.selection import run_of

    rows, left_out = verify_bundle(folder, demands, Scope.of_verify(*images), stage, data)
    show_sensitivity(listed_artifacts(folder), rows)
    show_parity(rows, phantoms=run_of(folder).phantoms)
    show_advice(advise(rows))
    show_left_out(left_out)
    show(NOTICE)
    if json is not None:
        write_json(json, to_json(rows))
    gate_parity(rows)


def _folds(
    folder: Path, bundle: str | None, demands: dict[str, float], shift_images: int | None, json: Path | None
) -> None:
    from cxr_edge.cli.pooled_parity import report_pooled_parity
    from cxr_edge.console import stage
    from cxr_edge.exporting.verify_folds import verify_folds

    report_pooled_parity(verify_folds(folder, demands, shift_images or SHIFT_IMAGES, stage, bundle), json)


def _without_keras(folder: Path) -> str | None:
    """Why a bundle cannot be compared with its Keras model here; None if it can."""
    from cxr_edge.runs import Run

    if not Run(folder.resolve().parent).model_file.is_file():
        return "this bundle lies outside its run folder"
    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed here"
    return None


def _replay(selection: Selection, runtimes: list[str] | None, threads: int | None, json: Path | None) -> None:
    from cxr_edge.artifacts.metadata import NOTICE
    from cxr_edge.evaluation.replay import replay
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.parity import gate_replay, show_left_out, show_replay
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.runtimes.base import runtime_named

    rows, left_out = replay(selection, [runtime_named(name) for name in runtimes] if runtimes else None, threads)
    show_replay(rows)
    show_left_out(left_out)
    show(NOTICE)
    if json is not None:
        write_json(json, to_json(rows))
    gate_replay(rows)
