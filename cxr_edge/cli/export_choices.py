"""The choices of `export --format` and `--quantize`: the exportable kinds, `all`, and older names."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization

if TYPE_CHECKING:
    FormatChoice = str
    QuantizationChoice = str
else:
    # Built from the kinds, which a type checker does not follow.
    FormatChoice = StrEnum("FormatChoice", [(str(kind), str(kind)) for kind in (*ArtifactFormat, "all")])
    QuantizationChoice = StrEnum(
        "QuantizationChoice", [(str(kind), str(kind)) for kind in (*Quantization.exportable(), "all")]
    )


def current_name(choice: str) -> str:
    """The current name of a choice: scripts from before schema 2 call float32 "none"."""
    try:
        return str(Quantization(choice))
    except ValueError:
        return choice
