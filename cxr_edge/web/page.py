"""Find the built page, shipped in the wheel `cxr-edge-web`, and check its integrity."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import ArtifactError, OptionError
from cxr_edge.files import read_bounded, sha256_of
from cxr_edge.records import from_json, parse_json

#: What the wheel installs: only data, no code.
PACKAGE = "cxr_edge_web"
_FILES, _MAX_BYTES = "files.json", 1 << 20


@dataclass(frozen=True)
class PageFile:
    """A file of the page, by its path in the folder, with slashes."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BuiltPage:
    """The folder of the page, and its files."""

    folder: Path
    files: tuple[PageFile, ...]


def built_page() -> BuiltPage:
    """The installed page, each file checked against its hash.

    Raises:
        OptionError: no page is installed.
        ArtifactError: a file is missing or changed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places or not (root := Path(places[0]) / _FILES).is_file():
        raise OptionError(
            "the page is not installed here: pip install the wheel cxr_edge_web of the release, or build it in a clone "
            "with make web, which needs Node.js"
        )
    try:
        files = from_json(tuple[PageFile, ...], parse_json(read_bounded(root, _MAX_BYTES)))
    except ValueError as error:
        raise ArtifactError(f"{root}: damaged ({error}); install the page again") from None
    page = BuiltPage(root.parent / "page", files)
    for file in files:
        path = page.folder / file.file
        if not path.is_file() or sha256_of(path) != file.sha256:
            raise ArtifactError(f"{path}: missing, or changed since the page was built; install it again")
    return page
