"""The imaging rule: every artifact's record of how its pixels were made, and which resizing it wants."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from cxr_edge.choices import Resize
from cxr_edge.imaging import dicom_files
from cxr_edge.records import JsonObject

STRETCH = Resize.STRETCH
#: The choices of `train --resize`, with their meaning.
RESIZES = {
    Resize.STRETCH: "stretched to S x S",
    Resize.PAD: "fitted into S x S, its proportions kept, centred on black",
}
#: How DICOM files were read when an artifact was trained: not at all; without the functional groups of enhanced
#: objects; with those, but palettes always little-endian; as today, palettes in the file's byte order.
NO_DICOM, WITHOUT_GROUPS, WITH_GROUPS = "none", "without-functional-groups", "with-functional-groups"
WITH_PALETTE_ORDER = "with-functional-groups-and-palettes-in-byte-order"
#: Changing any pixel that this package produces makes a new version.
VERSION = 3
#: Versions of the rule, with their reading of DICOM files, that give today's pixels for every file that both read,
#: except those that `imaging.decode.reads_otherwise` reports.
_SAME_PIXELS = {(1, NO_DICOM), (1, WITHOUT_GROUPS), (2, WITH_GROUPS), (VERSION, WITH_PALETTE_ORDER)}


@dataclass(frozen=True)
class ImagingRule:
    """How a file becomes an artifact's pixels, as identifiers; the description is for people and has no effect.

    A rule of another version may have identifiers unknown here.
    """

    resize: str
    version: int = VERSION
    decoder: str = "pillow"
    orientation: str = "exif"
    grey: str = "luma-601"
    dicom: str = WITH_PALETTE_ORDER
    filter: str = "bilinear-antialiased"
    description: str = field(default="", compare=False)

    def identifiers(self) -> JsonObject:
        """Everything but the description: what determines the pixels, JSON-ready."""
        return {name: value for name, value in asdict(self).items() if name != "description"}

    @property
    def resize_here(self) -> Resize:
        """Its resizing method; `stretch` for an unknown one, which `same_pixels` then reports."""
        return Resize(self.resize) if self.resize in RESIZES else STRETCH


def rule_of(resize: str) -> ImagingRule:
    """Today's rule with a resizing method of `RESIZES`."""
    return ImagingRule(
        resize=resize,
        description=(
            "Decoded by Pillow; EXIF orientation applied; grey by ITU-R 601-2 luma, alpha ignored, 16-bit and 32-bit "
            f"grey stretched from its own minimum..maximum to 0..255; {RESIZES[Resize(resize)]}, bilinear and "
            f"antialiased. DICOM: {dicom_files.RULE}."
        ),
    )


RULE = rule_of(STRETCH)


def same_pixels(rule: ImagingRule) -> bool:
    """Whether an artifact's imaging rule gives the same pixels as today's for every file that both read.

    Except for the files that `imaging.decode.reads_otherwise` reports.
    """
    known = (rule.version, rule.dicom) in _SAME_PIXELS and rule.resize in RESIZES
    return known and replace(rule, version=VERSION, dicom=RULE.dicom, resize=RULE.resize) == RULE
