"""The choices of `--format` and `--quantize`: the exportable kinds, for `export` also `all`, and older names."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization

if TYPE_CHECKING:
    FormatChoice = str
    QuantizationChoice = str
    OneFormat = str
    OneQuantization = str
else:
    # Built from the kinds, which a type checker does not follow.
    formats = [(str(kind), str(kind)) for kind in ArtifactFormat]
    quantizations = [(str(kind), str(kind)) for kind in Quantization.exportable()]
    OneFormat, OneQuantization = StrEnum("OneFormat", formats), StrEnum("OneQuantization", quantizations)
    FormatChoice = StrEnum("FormatChoice", [*formats, ("all", "all")])
    QuantizationChoice = StrEnum("QuantizationChoice", [*quantizations, ("all", "all")])

#: The artifact that most devices take.
USUAL_FORMAT, USUAL_QUANTIZATION = OneFormat("tflite"), OneQuantization("int8")


def current_name(choice: str) -> str:
    """The current name of a choice: scripts from before schema 2 call float32 "none"."""
    try:
        return str(Quantization(choice))
    except ValueError:
        return choice
