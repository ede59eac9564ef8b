"""A folder that `cxr-edge install` manages: which of its bundles is active, and which was active before."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cxr_edge.artifacts.bundle import INSTALLED
from cxr_edge.artifacts.validation import FILE_NAME
from cxr_edge.errors import ArtifactError
from cxr_edge.files import read_bounded, write_json
from cxr_edge.records import from_json, parse_json, to_json

BUNDLES = "bundles"
SCHEMA = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The content of `installed.json`: written last and atomically, it is what makes a bundle the active one.

    `active` and `previous` are names of folders in `bundles/`; `highest` is the highest version seen of each model.
    """

    active: str
    previous: str | None
    highest: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA


def read_installation(folder: Path) -> Installation | None:
    """What is installed in a folder; None if nothing is. Raises ArtifactError for a damaged record."""
    path = folder / INSTALLED
    if not path.is_file():
        return None
    try:
        state = from_json(Installation, parse_json(read_bounded(path, _MAX_BYTES)))
        names = [name for name in (state.active, state.previous) if name is not None]
        if state.schema != SCHEMA or not all(map(FILE_NAME.fullmatch, names)):
            raise ValueError(f"schema {state.schema}, bundles {names}")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: damaged, or of a later version ({error}); remove it, and install a bundle again"
        ) from None
    return state


def write_installation(folder: Path, state: Installation) -> None:
    """Make a bundle the active one, atomically."""
    write_json(folder / INSTALLED, to_json(state))
