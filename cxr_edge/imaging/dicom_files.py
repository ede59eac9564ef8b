"""Which files are DICOM, and the written rule by which they are read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from cxr_edge.errors import ImageError
from cxr_edge.imaging.reading import open_regular

#: How a DICOM file's stored values become 0..255; a part of `imaging.rule.RULE`.
RULE = (
    "by content (DICM at byte 128); one frame; modality LUT or rescale; first VOI LUT, else first window, over its "
    "whole output range; each of the two from the frame's functional groups where it stands there alone; without LUT "
    "and window, up to 8 bits over the stored range and deeper ones from their own minimum..maximum without padding; "
    "MONOCHROME1 inverted; colour to RGB, then luma, a palette in the file's byte order; overlays and presentation LUT "
    "ignored"
)
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})


def is_dicom(file: Path | str | BytesIO) -> bool:
    """Whether a file's content is DICOM, whatever its name; False if it cannot be read."""
    if isinstance(file, BytesIO):
        return file.read(132)[128:] == b"DICM"
    try:
        with open_regular(file) as opened:
            return opened.read(132)[128:] == b"DICM"
    except (ImageError, OSError):
        return False
