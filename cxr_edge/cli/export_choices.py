"""What `export --format` and `--quantize` take: the kinds that can be exported, and all of them; and by which names."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization

if TYPE_CHECKING:
    FormatChoice = str
    QuantizationChoice = str
else:
    # Made of the kinds, which a type checker does not follow.
    FormatChoice = StrEnum("FormatChoice", [(str(kind), str(kind)) for kind in (*ArtifactFormat, "all")])
    QuantizationChoice = StrEnum(
        "QuantizationChoice", [(str(kind), str(kind)) for kind in (*Quantization.exportable(), "all")]
    )


def current_name(choice: str) -> str:
    """A choice as it is called today: scripts from before schema 2 say none for float32."""
    try:
        return str(Quantization(choice))
    except ValueError:
        return choice
