"""`cxr-edge export`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.export_choices import FormatChoice, QuantizationChoice, current_name
from cxr_edge.cli.gate_options import GateOptions
from cxr_edge.cli.options import ConfigOption, JsonOption, RunOrFoldsOption
from cxr_edge.cli.spread import spread

if TYPE_CHECKING:
    from cxr_edge.evaluation.accuracy_control import AccuracyDemand
    from cxr_edge.exporting.export import ExportOptions
    from cxr_edge.exporting.recipe import Recipe
    from cxr_edge.runs import Run

#: What typer takes with the command.
CONTEXT_SETTINGS = {"token_normalize_func": current_name}
#: Where help shows an option.
ARTIFACTS, ACCURACY, FINE_TUNING, DECISION = "Artifacts", "Accuracy control", "Fine-tuning", "Decision rule"


@dataclass(frozen=True)
class RecipeOptions:
    """A named recipe, or the options that make one."""

    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="Write the bundle of one kind of device: a recipe that comes with cxr-edge, or a .toml file.",
            metavar="NAME|FILE",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None
    formats: Annotated[
        list[FormatChoice] | None,
        typer.Option("--format", help="Repeatable.", show_default="all", rich_help_panel=ARTIFACTS),
    ] = None
    quantizations: Annotated[
        list[QuantizationChoice] | None,
        typer.Option(
            "--quantize",
            help="int8 is calibrated, and fine-tuned if needed; int8-ptq is calibrated only. Repeatable.",
            show_default="int8",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-float",
            help="Layer to keep in float, by its name in --explain-int8; * and ? are wildcards. Repeatable.",
            metavar="LAYER",
            rich_help_panel=ARTIFACTS,
        ),
    ] = None
    heatmap: Annotated[
        bool,
        typer.Option(
            "--heatmap/--no-heatmap",
            help="Give artifacts a second output, the heat map that predict --heatmap draws.",
            rich_help_panel=ARTIFACTS,
        ),
    ] = True


@dataclass(frozen=True)
class AccuracyOptions:
    """The maximum loss of int8; layers are left in float to meet it."""

    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            help="Keep only as many layers in float as int8 needs to lose at most this many points of accuracy on "
            "validation images, as they are and under shift.",
            metavar="POINTS",
            rich_help_panel=ACCURACY,
        ),
    ] = None
    max_disagreement: Annotated[
        float | None,
        typer.Option(
            "--max-disagreement",
            help="The same for the share of images whose class is not the Keras model's, in points.",
            metavar="POINTS",
            rich_help_panel=ACCURACY,
        ),
    ] = None


@dataclass(frozen=True)
class FineTuningOptions:
    """How int8 is fine-tuned."""

    qat_steps: Annotated[
        int | None,
        typer.Option(
            "--qat-steps",
            help="Fine-tune int8 for this many steps, one batch each, even if calibration alone is close enough.",
            show_default="300 (phantoms: 60), only if needed",
            rich_help_panel=FINE_TUNING,
        ),
    ] = None
    qat_learning_rate: Annotated[
        float | None,
        typer.Option(
            "--qat-learning-rate",
            help="Likewise, with this peak learning rate.",
            show_default="0.002, only if needed",
            rich_help_panel=FINE_TUNING,
        ),
    ] = None


@dataclass(frozen=True)
class DecisionRuleOptions:
    """The demands on the decision rule of each artifact."""

    sensitive_class: Annotated[
        str | None,
        typer.Option(
            "--sensitive-class",
            help="Class that must not be missed.",
            show_default="COVID-19, if it is a class",
            metavar="LABEL",
            rich_help_panel=DECISION,
        ),
    ] = None
    sensitivity: Annotated[
        float | None,
        typer.Option(
            "--sensitivity",
            help="Minimum share of that class that is called or referred, promised with 95 % confidence.",
            show_default="0.95",
            rich_help_panel=DECISION,
        ),
    ] = None
    folds: Annotated[
        Path | None,
        typer.Option(
            "--folds",
            help="Fit the decision rule on the cross-validation in this folder, written by train --folds.",
            show_default="a fold's cross-validation, else the validation split",
            metavar="DIR",
            rich_help_panel=DECISION,
        ),
    ] = None


@spread("artifacts", "accuracy", "fine_tuning", "decision_rule", "gate")
def command(
    *,
    run: RunOrFoldsOption = None,
    artifacts: RecipeOptions,
    explain_int8: Annotated[
        bool,
        typer.Option("--explain-int8", help="Show what each layer by itself loses in int8; write no artifact."),
    ] = False,
    accuracy: AccuracyOptions,
    fine_tuning: FineTuningOptions,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="With --explain-int8: use the images of this folder.",
            show_default="the validation split",
            metavar="DIR",
        ),
    ] = None,
    decision_rule: DecisionRuleOptions,
    gate: GateOptions,
    config: ConfigOption = None,
    json: JsonOption = None,
) -> None:
    """Write TFLite and ONNX artifacts of a run to its bundle, and verify them against the Keras model.

    If --run is the folder of a cross-validation, each fold is exported unless it already was, and the artifacts of all
    folds are judged together.
    """
    from cxr_edge.errors import OptionError
    from cxr_edge.evaluation.accuracy_control import AccuracyDemand
    from cxr_edge.exporting.recipe_file import recipe_of_options

    demand = AccuracyDemand(**asdict(accuracy))
    if explain_int8:
        affects_artifacts = fine_tuning != FineTuningOptions() or decision_rule != DecisionRuleOptions()
        _require_only_explained(artifacts, demand, affects_artifacts or bool(gate.demanded()))
    if data is not None and not explain_int8:
        raise OptionError("--data needs --explain-int8: an export uses the run's data")
    recipe = recipe_of_options(**asdict(artifacts), gate=gate.demanded())
    # TensorFlow takes seconds to import, so only after the options are checked.
    from cxr_edge.console import interruptible
    from cxr_edge.exporting.export import ExportOptions
    from cxr_edge.runs import find_run
    from cxr_edge.runs.cross_validation import cross_validation_named

    if explain_int8:
        _explain(find_run(run), recipe, data, json)
        return
    options = ExportOptions(recipe, **asdict(fine_tuning), **asdict(decision_rule), accuracy=demand)
    with interruptible(lambda: f"interrupted; resume with {shlex.join(['cxr-edge', *sys.argv[1:]])}"):
        if (cross_validation := cross_validation_named(run)) is not None:
            _export_folds(cross_validation, options, json)
        else:
            export_and_show(find_run(run), options, json)


def _require_only_explained(artifacts: RecipeOptions, demand: AccuracyDemand, affects_artifacts: bool) -> None:
    """Raises OptionError for options that an explanation would ignore: --keep-float and --recipe it heeds."""
    from cxr_edge.errors import OptionError

    for options, is_stated in (
        ("--max-drop and --max-disagreement", demand.is_stated),
        ("the options of the fine-tuning, the decision rule and the gate", affects_artifacts),
        (
            "--format, --quantize and --no-heatmap",
            artifacts.formats or artifacts.quantizations or not artifacts.heatmap,
        ),
    ):
        if is_stated:
            raise OptionError(f"--explain-int8 writes no artifact; leave out {options}")


def export_and_show(run: Run, options: ExportOptions, json: Path | None = None) -> None:
    """Export and show the result; `demo` does the same. Raises GateError if an artifact failed its gate."""
    from cxr_edge.artifacts.bundle import CARD, REFERENCES, listed_artifacts
    from cxr_edge.console import stage
    from cxr_edge.evaluation.advice import advise
    from cxr_edge.evaluation.operating_record import operating_record_of
    from cxr_edge.evaluation.verified_artifact import recorded
    from cxr_edge.exporting.export import Exporter
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.accuracy_control import show_accuracy_control, show_latency_costs
    from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_lines
    from cxr_edge.reporting.terminal.operating import show_exported_points
    from cxr_edge.reporting.terminal.parity import gate_parity, show_advice, show_parity
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.training.compute_device import compute_device

    exporter = Exporter(run, options, stage)
    show(f"exporting on {compute_device()}")
    exported = exporter.export()
    for note in exported.notes:
        show(note)
    rows = [recorded(artifact) for artifact in exported.artifacts]
    show_parity(rows, phantoms=run.phantoms)
    for line in fine_tuning_lines(exported.artifacts):
        show(line)
    show_advice(advise([recorded(artifact) for artifact in listed_artifacts(exporter.bundle) if artifact.parity]))
    points = {artifact.name: operating_record_of(artifact.metadata.operating_point) for artifact in exported.artifacts}
    show_exported_points({name: record for name, record in points.items() if record is not None})
    references = exporter.bundle / REFERENCES
    show(f"bundle: {exporter.bundle}; its reference inputs: {references.stat().st_size / 1e6:.2f} MB")
    show(f"model card: {exporter.bundle / CARD}")
    if json is not None:
        write_json(json, to_json(rows))
    show_accuracy_control(exported.artifacts)
    for quantization, costs in exporter.latency_costs().items():
        show_latency_costs(quantization, costs)
    gate_parity(rows)


def _export_folds(folder: Path, options: ExportOptions, json: Path | None) -> None:
    from cxr_edge.cli.pooled_parity import report_pooled_parity
    from cxr_edge.console import stage
    from cxr_edge.exporting.export import Exported
    from cxr_edge.exporting.export_folds import export_folds
    from cxr_edge.reporting.terminal.pooled_parity import show_fold
    from cxr_edge.reporting.terminal.tables import show
    from cxr_edge.training.compute_device import compute_device

    def on_fold(number: int, folds: int, exported: Exported | None) -> None:
        if exported is None:
            show_fold(number, folds, None)
        else:
            show_fold(number, folds, exported.artifacts, exported.notes)

    show(f"exporting on {compute_device()}")
    report_pooled_parity(export_folds(folder, options, stage, on_fold), json)


def _explain(run: Run, recipe: Recipe, data: Path | None, json: Path | None) -> None:
    from cxr_edge.console import stage
    from cxr_edge.exporting.explain_int8 import explain_int8
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.explanation import show_explanation

    explanation = explain_int8(run, recipe, data, stage)
    show_explanation(explanation)
    if json is not None:
        write_json(json, to_json(explanation))
