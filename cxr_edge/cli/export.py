"""`cxr-edge export`."""

from __future__ import annotations

from typing import Annotated

import typer

from cxr_edge.cli.options import AgreementOption, DropOption, JsonOption, RunOption


def command(
    run: RunOption = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Repeatable.", show_default="all", metavar="tflite|onnx|all"),
    ] = None,
    quantizations: Annotated[
        list[str] | None,
        typer.Option(
            "--quantize",
            help="int8 is fine-tuned quantization-aware, int8-ptq calibrated only. Repeatable.",
            show_default="int8",
            metavar="none|fp16|int8|int8-ptq|all",
        ),
    ] = None,
    qat_epochs: Annotated[
        int | None, typer.Option("--qat-epochs", help="Epochs of int8's fine-tuning.", show_default="3; phantoms 1")
    ] = None,
    qat_learning_rate: Annotated[float, typer.Option("--qat-learning-rate", help="Its peak learning rate.")] = 3e-5,
    min_agreement: AgreementOption = 0.95,
    max_accuracy_drop: DropOption = 0.02,
    json: JsonOption = None,
) -> None:
    """Write TFLite and ONNX artifacts of a run to its bundle, and verify them against the Keras model."""
    from cxr_edge.evaluation.parity import Gate
    from cxr_edge.exporting.command import run_export

    run_export(
        run,
        formats or ["all"],
        quantizations or ["int8"],
        qat_epochs,
        qat_learning_rate,
        Gate(min_agreement, max_accuracy_drop),
        json,
    )
