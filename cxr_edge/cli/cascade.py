"""`cxr-edge cascade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxr_edge.cli.export_choices import USUAL_FORMAT, USUAL_QUANTIZATION, OneFormat, OneQuantization
from cxr_edge.cli.options import OUTPUT, JsonOption

if TYPE_CHECKING:
    from cxr_edge.exporting.cascade import CascadeExport

_Small = Annotated[
    Path,
    typer.Option(
        "--small",
        help="Exported run of the model that answers first, or a bundle of it; or the folder of a cross-validation's "
        "students.",
        metavar="RUN",
    ),
]
_Full = Annotated[
    Path,
    typer.Option(
        "--full",
        help="Exported run of the model that answers where the small one is unsure; or the folder of the "
        "cross-validation.",
        metavar="RUN",
    ),
]
_Agreement = Annotated[
    float,
    typer.Option(
        "--min-agreement",
        help="Minimum share of images that get the full model's class, promised with 95 % confidence.",
    ),
]
_Shifted = Annotated[
    float,
    typer.Option(
        "--min-shifted-agreement",
        help="The same under each shift of the suite: noise, JPEG, borders and others.",
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Folder of the new bundle.",
        show_default="bundle-cascade in the full run",
        metavar="DIR",
        rich_help_panel=OUTPUT,
    ),
]


def command(
    small: _Small,
    full: _Full,
    quantize: Annotated[
        OneQuantization, typer.Option("--quantize", help="Quantization of both files.")
    ] = USUAL_QUANTIZATION,
    format: Annotated[OneFormat, typer.Option("--format", help="Format of both files.")] = USUAL_FORMAT,
    min_agreement: _Agreement = 0.995,
    min_shifted_agreement: _Shifted = 0.9,
    output: _Output = None,
    json: JsonOption = None,
) -> None:
    """Join two models in one bundle: the small one answers, and where it is unsure, the full one does.

    The threshold is fitted on the validation images alone, as they are and under shifts, to the demanded agreement with
    the full model and to the sensitivity that its decision rule promises; with too few images to guarantee them, the
    best available guarantee is recorded, with a warning. Exit status 3 if the full model would have to answer every
    image, or if the cascade fails its parity gate. Given a cross-validation and its students, cascade makes one of each
    fold, and judges all of them together.
    """
    from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
    from cxr_edge.cli.pooled_parity import report_pooled_parity
    from cxr_edge.console import stage
    from cxr_edge.evaluation.pooled_parity import PooledCascades
    from cxr_edge.exporting.cascade import CascadeOptions
    from cxr_edge.exporting.cascade_folds import cascade_of
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.cascade import show_fold_fits

    options = CascadeOptions(Quantization(quantize), ArtifactFormat(format), min_agreement, min_shifted_agreement)
    result = cascade_of(small, full, options, output, stage)
    if isinstance(result, PooledCascades):
        show_fold_fits(result.fits, result.accuracy_less_full)
        if json is not None:
            write_json(json, to_json(result))
        report_pooled_parity(result.parity)
    else:
        _report(result, json)


def _report(export: CascadeExport, json: Path | None) -> None:
    """Show a cascade, and write its parity to `json` if stated. Raises GateError if it failed its gate."""
    from cxr_edge.artifacts.metadata import NOTICE
    from cxr_edge.evaluation.verified_artifact import recorded
    from cxr_edge.files import write_json
    from cxr_edge.records import to_json
    from cxr_edge.reporting.terminal.cascade import show_fit, show_sensitivity
    from cxr_edge.reporting.terminal.parity import gate_parity, show_parity
    from cxr_edge.reporting.terminal.tables import show

    for note in export.notes:
        show(note)
    rows = [recorded(export.cascade)]
    show_sensitivity([export.cascade], rows)
    show_parity(rows, phantoms=export.cascade.metadata.training.phantoms)
    show_fit(export.fit, export.accuracy_less_full)
    folder = export.cascade.path
    show(f"bundle: {folder}, {export.cascade.bytes / 1e6:.1f} MB; next: cxr-edge bench --bundle {folder}")
    show(NOTICE)
    if json is not None:
        write_json(json, to_json(rows))
    gate_parity(rows)
