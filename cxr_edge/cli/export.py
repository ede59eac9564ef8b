"""`cxr-edge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxr_edge.cli.export_choices import FormatChoice, QuantizationChoice
from cxr_edge.cli.options import (
    AgreementOption,
    ClassLossOption,
    ConfigOption,
    DropOption,
    JsonOption,
    RunOption,
    SensitivityOption,
    ShiftedAgreementOption,
)

#: Where help shows an option.
ARTIFACTS, FINE_TUNING, DECISION = "Artifacts", "Fine-tuning", "Decision rule"


def command(
    run: RunOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Write the bundle of one kind of device: a recipe that comes with cxr-edge, or a .toml file.",
            metavar="NAME|FILE",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None,
    formats: Annotated[
        list[FormatChoice] | None,
        typer.Option("--format", help="Repeatable.", show_default="all", rich_help_panel=ARTIFACTS),
    ] = None,
    quantizations: Annotated[
        list[QuantizationChoice] | None,
        typer.Option(
            "--quantize",
            help="int8 is fine-tuned quantization-aware, int8-ptq calibrated only. Repeatable.",
            show_default="int8",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-float",
            help="Layer to leave out of int8, by the names of --explain-int8; * and ? stand for others. Repeatable.",
            metavar="LAYER",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None,
    heatmap: Annotated[
        bool,
        typer.Option(
            "--heatmap/--no-heatmap",
            help="Whether the artifacts can say where they see it: predict --heatmap.",
            rich_help_panel=ARTIFACTS,
        ),
    ] = True,
    explain_int8: Annotated[
        bool,
        typer.Option("--explain-int8", help="Show what each layer loses in int8 by itself, and write no artifact."),
    ] = False,
    qat_steps: Annotated[
        int | None,
        typer.Option(
            "--qat-steps",
            help="Steps of int8's fine-tuning, of a batch each.",
            show_default="300; phantoms 60",
            rich_help_panel=FINE_TUNING,
        ),
    ] = None,
    qat_learning_rate: Annotated[
        float, typer.Option("--qat-learning-rate", help="Its peak learning rate.", rich_help_panel=FINE_TUNING)
    ] = 2e-3,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="With --explain-int8: look at the images of this folder.",
            show_default="the validation split",
            metavar="DIR",
        ),
    ] = None,
    sensitive_class: Annotated[
        str | None,
        typer.Option(
            "--sensitive-class",
            help="Class that must not be missed.",
            show_default="COVID-19, where it is a class",
            metavar="LABEL",
            rich_help_panel=DECISION,
        ),
    ] = None,
    sensitivity: Annotated[
        float,
        typer.Option(
            "--sensitivity",
            help="Share of that class to be called or referred, at least, promised with a confidence of 95 %.",
            rich_help_panel=DECISION,
        ),
    ] = 0.95,
    folds: Annotated[
        Path | None,
        typer.Option(
            "--folds",
            help="Fit the decision rule on the cross-validation in this folder, of train --folds.",
            show_default="a fold's own, else the validation split",
            metavar="DIR",
            rich_help_panel=DECISION,
        ),
    ] = None,
    min_agreement: AgreementOption = None,
    max_accuracy_drop: DropOption = None,
    max_sensitivity_drop: SensitivityOption = None,
    min_shifted_agreement: ShiftedAgreementOption = None,
    max_class_loss: ClassLossOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
) -> None:
    """Write TFLite and ONNX artifacts of a run to its bundle, and verify them against the Keras model."""
    from cxr_edge.evaluation.gate import demanded
    from cxr_edge.exporting.recipe_file import recipe_of_options

    gate = demanded(
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
        max_sensitivity_drop=max_sensitivity_drop,
        min_shifted_agreement=min_shifted_agreement,
        max_class_loss=max_class_loss,
    )
    wanted = recipe_of_options(recipe, formats, quantizations, keep_float, heatmap, gate)
    # TensorFlow takes seconds to import: not before the options are known to be good.
    from cxr_edge.exporting.command import run_explain, run_export

    if explain_int8:
        run_explain(run, wanted, data, json)
    else:
        run_export(run, wanted, qat_steps, qat_learning_rate, sensitive_class, sensitivity, folds, json)
