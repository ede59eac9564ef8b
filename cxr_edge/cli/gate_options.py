"""The demands on an artifact, as options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

#: Where help shows them.
GATE = "Gate"

AgreementOption = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        help="Minimum share of images with the same top-1 class, among images like those trained on.",
        show_default="0.95, or the recipe's",
        rich_help_panel=GATE,
    ),
]
DropOption = Annotated[
    float | None,
    typer.Option(
        "--max-accuracy-drop",
        help="Maximum drop in accuracy, as a share: 0.02 is two points.",
        show_default="0.02, or the recipe's",
        rich_help_panel=GATE,
    ),
]
SensitivityOption = Annotated[
    float | None,
    typer.Option(
        "--max-sensitivity-drop",
        help="Maximum drop in the sensitivity of any class.",
        show_default="0.05, or the recipe's",
        rich_help_panel=GATE,
    ),
]
ShiftedAgreementOption = Annotated[
    float | None,
    typer.Option(
        "--min-shifted-agreement",
        help="Minimum share with the same class under each shift, and on other images.",
        show_default="0.9, or the recipe's",
        rich_help_panel=GATE,
    ),
]
ClassLossOption = Annotated[
    float | None,
    typer.Option(
        "--max-class-loss",
        help="Maximum net loss of any class, as a share of the images that Keras puts in it.",
        show_default="0.01, or the recipe's",
        rich_help_panel=GATE,
    ),
]


@dataclass(frozen=True)
class GateOptions:
    """The demands on an artifact; None for those not stated."""

    min_agreement: AgreementOption = None
    max_accuracy_drop: DropOption = None
    max_sensitivity_drop: SensitivityOption = None
    min_shifted_agreement: ShiftedAgreementOption = None
    max_class_loss: ClassLossOption = None

    def demanded(self) -> dict[str, float]:
        """The stated demands."""
        from cxr_edge.evaluation.demands import demanded

        return demanded(**asdict(self))
