"""Options that several commands share."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run", help="Run: its folder, or its name under runs/.", show_default="the latest under runs/", metavar="DIR"
    ),
]
ArtifactOption = Annotated[
    Path | None,
    typer.Option(
        "--artifact", help="A .tflite or .onnx file by itself.", show_default="the bundle's best", metavar="FILE"
    ),
]
ArtifactsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--artifact",
        help="A .tflite or .onnx file by itself; repeatable.",
        show_default="the bundle's",
        metavar="FILE",
    ),
]
NewRunOption = Annotated[
    Path | None,
    typer.Option("--run", help="Folder for the run.", show_default="a new one under runs/", metavar="DIR"),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="Bundle folder.",
        show_default="this folder if it is one, or the latest run's",
        metavar="DIR",
    ),
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Also write the result to this file as JSON.", metavar="FILE")
]
AgreementOption = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        help="Gate: least share of images like those trained on with the same top-1 class.",
        show_default="0.95, or the recipe's",
    ),
]
DropOption = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        help="Gate: greatest drop in accuracy, in units of accuracy.",
        show_default="0.02, or the recipe's",
    ),
]
SensitivityOption = Annotated[
    float | None,
    typer.Option(
        "--max-sensitivity-drop",
        help="Gate: greatest drop in the sensitivity of any class.",
        show_default="0.05, or the recipe's",
    ),
]
ShiftedAgreementOption = Annotated[
    float | None,
    typer.Option(
        "--min-shifted-agreement",
        help="Gate: the same under each shift, and on other images.",
        show_default="0.9, or the recipe's",
    ),
]
ClassLossOption = Annotated[
    float | None,
    typer.Option(
        "--max-class-loss",
        help="Gate: greatest share of what Keras calls a class that may leave it on balance.",
        show_default="0.01, or the recipe's",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", help="Threads of one inference.", show_default="all usable cores", min=1)
]


def _demand_signature(key: Path | None) -> Path | None:
    """The environment variable is what loading an artifact heeds, here and in the processes that a command starts."""
    if key is not None:
        os.environ["CXR_EDGE_REQUIRE_SIGNATURE"] = str(key.absolute())
    return key


SignatureOption = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        help="Refuse what the owner of this public Ed25519 key, PEM, did not release.",
        envvar="CXR_EDGE_REQUIRE_SIGNATURE",
        show_default="take what nobody signed",
        metavar="PUBKEY",
        callback=_demand_signature,
    ),
]


@dataclass(frozen=True)
class GateOptions:
    """What may be demanded of an artifact; None for what is not."""

    min_agreement: AgreementOption = None
    max_accuracy_drop: DropOption = None
    max_sensitivity_drop: SensitivityOption = None
    min_shifted_agreement: ShiftedAgreementOption = None
    max_class_loss: ClassLossOption = None

    def demanded(self) -> dict[str, float]:
        """Those that are given."""
        from cxr_edge.evaluation.gate import demanded

        return demanded(**asdict(self))
