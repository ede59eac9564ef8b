"""`cxr-edge verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr_edge.cli.options import (
    AgreementOption,
    BundleOption,
    DropOption,
    JsonOption,
    RunOption,
    SensitivityOption,
    ThreadsOption,
)


def command(
    run: RunOption = None,
    bundle: BundleOption = None,
    min_agreement: AgreementOption = None,
    max_accuracy_drop: DropOption = None,
    max_sensitivity_drop: SensitivityOption = None,
    replay: Annotated[
        bool,
        typer.Option(
            "--replay",
            help="Compare the bundle's reference outputs with what each runtime computes here: no Keras model, no "
            "patients. What a device without TensorFlow does anyway.",
        ),
    ] = False,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", help="With --replay; repeatable.", show_default="all installed", metavar="litert|onnx|openvino"
        ),
    ] = None,
    threads: ThreadsOption = None,
    json: JsonOption = None,
) -> None:
    """Compare each artifact with the Keras model on the test split, or on a device with its own reference outputs.

    Exit status 3 when one fails.
    """
    from cxr_edge.cli.verify_command import verify_here
    from cxr_edge.evaluation.gate import demanded

    demands = demanded(min_agreement, max_accuracy_drop, max_sensitivity_drop)
    verify_here(run, bundle, demands, replay, runtimes, threads, json)
