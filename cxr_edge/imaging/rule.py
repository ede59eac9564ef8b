"""The imaging rule: what every artifact says of how its pixels were made, and which resize it wants."""

from __future__ import annotations

from typing import Any

from cxr_edge.imaging import dicom

#: How a picture becomes S x S, by the names that `train --resize` takes.
RESIZES = {"stretch": "stretch to S x S", "pad": "fit into S x S, its proportions kept, centred on black"}
STRETCH = "stretch"

#: Part of every artifact's contract, with the resize that it was trained with (`rule_of`). A change of any pixel this
#: module yields is a new version.
RULE: dict[str, Any] = {
    "decoder": "Pillow",
    "orientation": "EXIF orientation applied",
    "grey": "ITU-R 601-2 luma; alpha ignored; 16-bit and 32-bit grey stretched from its own minimum..maximum to 0..255",
    "dicom": dicom.RULE,
    "resize": RESIZES[STRETCH],
    "filter": "bilinear, antialiased",
    "version": 2,
}

#: `version` and `dicom` of rules before, which read what they read as `RULE` does, but for `reads_otherwise`: one read
#: no DICOM file at all.
_BEFORE = {(1, None), (1, dicom.RULE_WITHOUT_GROUPS)}


def same_pixels(rule: dict[str, Any]) -> bool:
    """Whether an artifact's imaging rule gives the pixels that `RULE` gives, for every file that both read.

    Those files apart that `reads_otherwise` names.
    """
    if (rule.get("version"), rule.get("dicom")) in _BEFORE:
        rule = {**rule, "version": RULE["version"], "dicom": RULE["dicom"]}
    return rule == rule_of(resize_of(rule))


def rule_of(resize: str) -> dict[str, Any]:
    """The rule with one of `RESIZES`."""
    return {**RULE, "resize": RESIZES[resize]}


def resize_of(rule: dict[str, Any]) -> str:
    """Which of `RESIZES` a rule has; `stretch` for one that is not known here, which `same_pixels` then tells."""
    return next((name for name, text in RESIZES.items() if text == rule.get("resize")), STRETCH)
